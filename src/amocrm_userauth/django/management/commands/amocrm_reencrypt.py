"""Encrypt every token with the first key."""

from typing import Any

from amocrm_userauth.django._service import token_store
from amocrm_userauth.django.management._base import AmoCRMCommand


class Command(AmoCRMCommand):
    """``manage.py amocrm_reencrypt``, after a new key was put in front; safe while the site runs."""

    help = "Write every stored amoCRM token anew with the first of ENCRYPTION_KEYS; then the old keys can go."

    def work(self, *_: Any, **__: Any) -> None:
        """Walk over all rows."""
        self.stdout.write(f"{token_store().reencrypt()} connections encrypted anew")
