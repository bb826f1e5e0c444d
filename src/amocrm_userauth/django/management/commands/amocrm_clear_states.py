"""Delete expired states."""

from datetime import UTC, datetime
from typing import Any

from amocrm_userauth.django._service import token_store
from amocrm_userauth.django.management._base import AmoCRMCommand

_BATCH = 1000


class Command(AmoCRMCommand):
    """``manage.py amocrm_clear_states``; each new connection deletes some, so this is needed after a rush only."""

    help = "Delete the expired states of amoCRM connections that were begun."

    def work(self, *_: Any, **__: Any) -> None:
        """Delete them in batches."""
        store, now, deleted = token_store(), datetime.now(UTC), 0
        while batch := store.clear_states(now=now, limit=_BATCH):
            deleted += batch
        self.stdout.write(f"{deleted} expired states deleted")
