"""The settings of the tests' site. Databases on servers are added by ``kit.database``."""

import os
import tempfile
from pathlib import Path

import pymysql

pymysql.install_as_MySQLdb()

FOLDER = Path(tempfile.mkdtemp(prefix="amocrm-django-"))

SECRET_KEY = "example-secret-key-of-the-tests"
JWT_KEY = "example-key-that-is-long-enough-for-a-signature"  # of the example's login
USE_TZ = os.environ.get("AMOCRM_TEST_DJANGO_USE_TZ", "1") == "1"
TIME_ZONE = "Europe/Moscow"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "amocrm_userauth.django",
    "tests.django.people",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(FOLDER / "default.sqlite3")}}
AUTH_USER_MODEL = os.environ.get("AMOCRM_TEST_DJANGO_USER", "auth.User")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
ROOT_URLCONF = "tests.django.urls"
AMOCRM_USERAUTH = {}
