"""What the commands share."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from amocrm_userauth.errors import AmoCRMUserAuthError

__all__ = ["AmoCRMCommand", "add_users", "user_ids"]


class AmoCRMCommand(BaseCommand):
    """A command whose failures are one line, not a traceback."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the work."""
        try:
            self.work(*args, **options)
        except AmoCRMUserAuthError as error:
            raise CommandError(f"{error.code}: {error.message}") from None

    def work(self, *args: Any, **options: Any) -> None:
        """Do what the command is for."""


def add_users(parser: ArgumentParser, *, many: str) -> None:
    """Let users be named: by primary key, or by user name."""
    parser.add_argument("user", nargs=many, help="primary key of a user")
    parser.add_argument("--username", action="store_true", help="the users are named by user name instead")


def user_ids(names: list[str], *, username: bool) -> list[str]:
    """Return the users' ids. Raises ``CommandError`` for a name that nobody has."""
    users: Any = get_user_model()
    field: str = users.USERNAME_FIELD if username else "pk"
    found = [_find(users, field, name) for name in names]
    for name, pk in zip(names, found, strict=True):
        if pk is None:
            raise CommandError(f"no user has {field} {name!r}")
    return [str(pk) for pk in found]


def _find(users: Any, field: str, name: str) -> Any:
    try:
        return users._base_manager.filter(**{field: name}).values_list("pk", flat=True).first()  # noqa: SLF001 - Django's API
    except (ValueError, TypeError, ValidationError):
        return None
