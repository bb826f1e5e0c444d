"""The app as ``INSTALLED_APPS`` has it."""

from importlib import import_module
from typing import Any

from django.apps import AppConfig

__all__ = ["AmoCRMUserAuthConfig"]


class AmoCRMUserAuthConfig(AppConfig):
    """Users' own amoCRM connections; ``"amocrm_userauth.django"`` in ``INSTALLED_APPS``."""

    name = "amocrm_userauth.django"
    label = "amocrm_userauth"
    verbose_name: Any = "amoCRM connections"

    def ready(self) -> None:
        """Register the system checks."""
        import_module("amocrm_userauth.django.checks")  # they register themselves
