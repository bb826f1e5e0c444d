"""Delete users' connections."""

from argparse import ArgumentParser
from typing import Any

from amocrm_userauth.django import user_auth
from amocrm_userauth.django.management._base import AmoCRMCommand, add_users, user_ids


class Command(AmoCRMCommand):
    """``manage.py amocrm_disconnect user …``."""

    help = "Delete users' amoCRM connections. Their tokens are gone; they can connect again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take users."""
        add_users(parser, many="+")

    def work(self, *_: Any, **options: Any) -> None:
        """Disconnect one after the other."""
        for user_id in user_ids(options["user"], username=options["username"]):
            done = user_auth().disconnect(user_id)
            self.stdout.write(f"{user_id}: {'disconnected' if done else 'was not connected'}")
