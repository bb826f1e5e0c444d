"""Show how users' connections stand."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable
from typing import Any

from amocrm_userauth._core.model import ConnectionStatus
from amocrm_userauth.django._service import token_store, user_auth
from amocrm_userauth.django.management._base import AmoCRMCommand, add_users, user_ids
from amocrm_userauth.django.models import AmoCRMToken

_COLUMNS = "{:<36}  {:<12}  {:<28}  {:<12}  {:<17}  {}"


class Command(AmoCRMCommand):
    """``manage.py amocrm_status [user …]``; neither asks amoCRM nor shows a token."""

    help = "Show how users' amoCRM connections stand: those named, or all."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take users."""
        add_users(parser, many="*")

    def work(self, *_: Any, **options: Any) -> None:
        """Print a line for each user, and a sum."""
        named = user_ids(options["user"], username=options["username"])
        counts = Counter[str]()
        self.stdout.write(_COLUMNS.format("user", "state", "account", "number", "token until", "last refresh / reason"))
        for user_id in named or _everybody():
            status = user_auth().status(user_id)
            counts[_state(status)] += 1
            self.stdout.write(_line(user_id, status))
        self.stdout.write(", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "nobody")


def _everybody() -> Iterable[str]:
    database = token_store().alias
    keys = AmoCRMToken.objects.using(database).order_by("user_id").values_list("user_id", flat=True)
    return map(str, keys.iterator())


def _state(status: ConnectionStatus) -> str:
    if status.connected:
        return "connected"
    return "refused" if status.has_tokens else "none"


def _line(user_id: str, status: ConnectionStatus) -> str:
    until = f"{status.expires_at:%Y-%m-%d %H:%M}Z" if status.expires_at else ""
    refreshed = f"{status.refreshed_at:%Y-%m-%d %H:%M}Z" if status.refreshed_at else ""
    last = status.reauth_reason or refreshed
    return _COLUMNS.format(user_id, _state(status), status.domain, status.account_id, until, last).rstrip()
