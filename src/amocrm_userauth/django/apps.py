"""The app as ``INSTALLED_APPS`` has it."""

from django.apps import AppConfig

__all__ = ["AmoCRMUserAuthConfig"]


class AmoCRMUserAuthConfig(AppConfig):
    """Users' own amoCRM connections; ``"amocrm_userauth.django"`` in ``INSTALLED_APPS``."""

    name = "amocrm_userauth.django"
    label = "amocrm_userauth"
    verbose_name = "amoCRM connections"

    def ready(self) -> None:
        """Register the system checks."""
        from amocrm_userauth.django import checks  # noqa: PLC0415, F401 - they register themselves
