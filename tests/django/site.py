"""The site at work: connected users, expired tokens, a fake amoCRM behind ``user_auth()``."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.django import kit  # isort: skip - it sets Django up

from django.db import connections
from django.test import override_settings

from amocrm_userauth.django import user_auth
from amocrm_userauth.testing import FakeAmoCRM
from tests.races.kit import PATIENCE, world

ROOT = Path(__file__).parents[2]


def settings_for(fake: FakeAmoCRM, **changes: Any) -> dict[str, Any]:
    """``AMOCRM_USERAUTH`` for the integration of ``fake``, without its HTTP client."""
    mine = fake.integration()
    known = {"CLIENT_ID": mine.client_id, "CLIENT_SECRET": mine.client_secret, "REDIRECT_URI": mine.redirect_uri}
    return known | changes


@contextmanager
def amocrm(rotation: str = "strict", **changes: Any) -> Iterator[FakeAmoCRM]:
    """A fake amoCRM that ``user_auth()`` asks."""
    with world(rotation) as fake:
        given = settings_for(fake, HTTP_CLIENT=lambda: fake.http_client(timeout=PATIENCE), **changes)
        with override_settings(AMOCRM_USERAUTH=given):
            yield fake


def connect(fake: FakeAmoCRM, user: str) -> None:
    """Connect ``user`` as the amoCRM user of the same name."""
    auth = user_auth()
    request = auth.begin(user)
    auth.connect(user, code=fake.authorize(user, state=request.state), state=request.state, referer=fake.host(user))


def expire(user: str) -> None:
    """Let the user's access token have run out; the refresh token stays good."""
    store = user_auth().store
    row = store.get(user)
    assert row is not None
    pair = row.pair
    past = datetime.now(UTC) - timedelta(hours=1)
    fields = ("access_token", "refresh_token", "token_type", "account_id", "amocrm_user_id", "domain", "api_domain")
    old = type(pair)(**{name: getattr(pair, name) for name in fields}, scopes=pair.scopes, expires_at=past)
    store.put(replace(row, pair=old, pair_saved_at=past - timedelta(days=1)))


def connect_expired(fake: FakeAmoCRM, user: str) -> None:
    """Connect a user whose access token has run out."""
    connect(fake, user)
    expire(user)


def job_for(fake: FakeAmoCRM, alias: str, user: str) -> dict[str, Any]:
    """What another process needs to know to serve ``user`` on the database ``alias``."""
    known = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
    database = {name: connections.settings[alias][name] for name in known}
    return {"url": fake.url, "settings": settings_for(fake), "alias": alias, "database": database, "user": user}


class Worker:
    """One child process of :mod:`tests.django.worker`. Its jobs run one after the other; several work side by side."""

    def __init__(self) -> None:
        paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.django.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )

    def begin(self, do: str, fake: FakeAmoCRM, alias: str, user: str, **more: Any) -> None:
        """Hand it a job on the database ``alias``."""
        given = {name: connections.settings[alias][name] for name in ("ENGINE", "NAME", "USER", "HOST", "PORT")}
        given |= {"OPTIONS": connections.settings[alias]["OPTIONS"]}
        job = {
            "do": do,
            "url": fake.url,
            "settings": settings_for(fake),
            "alias": alias,
            "database": given,
            "user": user,
            **more,
        }
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def result(self) -> list[str]:
        """Wait for the job's answer."""
        return json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        """End it and free its pipes."""
        self.process.kill()
        self.process.wait(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    """So many child processes."""
    made = [Worker() for _ in range(count)]
    try:
        yield made
    finally:
        for worker in made:
            worker.stop()


__all__ = [
    "Worker",
    "amocrm",
    "connect",
    "connect_expired",
    "expire",
    "job_for",
    "kit",
    "settings_for",
    "workers",
]
