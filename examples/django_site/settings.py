"""The site's settings. What is secret, or differs between places, comes from the environment."""

import os
from pathlib import Path

SECRET_KEY = os.environ["SECRET_KEY"]
JWT_KEY = os.environ["JWT_KEY"]
DEBUG = os.environ.get("DEBUG") == "1"
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "127.0.0.1,localhost").split(",")
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "amocrm_userauth.django",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "amocrm_userauth.django.middleware.ErrorMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
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
ROOT_URLCONF = "examples.django_site.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", "example.sqlite3"),
        # a second writer waits for its turn instead of failing
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

# --8<-- [start:amocrm]
# AMO_CLIENT_ID, AMO_CLIENT_SECRET and AMO_REDIRECT_URI are read from the environment.
AMOCRM_USERAUTH = {
    "ENCRYPTION_KEYS": os.environ["AMO_ENCRYPTION_KEYS"].split(","),  # newest first
    "DEEP_LINK": os.environ["DEEP_LINK"],  # a page of the site, or the mobile app's: foryouapp://amo-crm/callback
    "CURRENT_USER": "examples.django_site.callers.current_user",
}
# --8<-- [end:amocrm]

if "FAKE_AMOCRM" in os.environ:  # set by `python -m examples.django_site`
    AMOCRM_USERAUTH |= {
        "AUTHORIZE_URL": f"{os.environ['FAKE_AMOCRM']}/oauth",
        "HTTP_CLIENT": "examples.django_site.amocrm.http_client",
    }
