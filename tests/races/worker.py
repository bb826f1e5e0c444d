"""A process of its own that works on one SQLite file; it takes jobs as JSON lines and answers each with one.

Run by the tests as ``python -m tests.races.worker``. A job says what to do: ``callers`` ask for a token at once, or one
caller comes to a named point of a refresh and is killed there.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from amocrm_userauth import Integration, UserAuth
from amocrm_userauth.errors import AmoCRMUserAuthError
from amocrm_userauth.testing import async_http_client, http_client, http_transport
from tests.races.kit import PATIENCE, USER, Wrapped, async_sqlite_store, in_threads, sqlite_store


def die() -> None:
    """End as a process does that is killed."""
    os.kill(os.getpid(), signal.SIGKILL)


class DyingStore(Wrapped):
    """A store whose process is killed before or after its commit."""

    def __init__(self, inner: Any, point: str) -> None:
        super().__init__(inner)
        self.point = point

    def commit(self, token: Any, **more: Any) -> Any:
        if self.point == "before the commit":
            die()
        row = self.inner.commit(token, **more)
        if self.point == "after the commit":
            die()
        return row


class DyingTransport(httpx.BaseTransport):
    """A network whose process is killed before the token is sent, or when the answer is there."""

    def __init__(self, inner: httpx.BaseTransport, point: str) -> None:
        self.inner = inner
        self.point = point

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.point == "before the send":
            die()
        response = self.inner.handle_request(request)
        if self.point == "after the answer":
            response.read()
            die()
        return response


def integration(job: dict[str, Any]) -> Integration:
    """The integration as this deployment has it."""
    return replace(Integration(*job["integration"]), **job.get("wrong", {}))


@contextmanager
def services(job: dict[str, Any], count: int) -> Iterator[list[UserAuth]]:
    """As many services as asked for, each with a store of its own."""
    with ExitStack() as stack:
        http = stack.enter_context(http_client(job["url"]))
        made = []
        for _ in range(count):
            store = stack.enter_context(sqlite_store(Path(job["path"])))
            made.append(stack.enter_context(UserAuth(integration(job), store, http=http)))
        yield made


def ask_in_threads(job: dict[str, Any]) -> list[Any]:
    with services(job, job.get("services", 1)) as made:
        return in_threads([lambda auth=auth: auth.access_token(USER) for auth in made * (job["callers"] // len(made))])


def ask_in_tasks(job: dict[str, Any]) -> list[Any]:
    from amocrm_userauth import AsyncUserAuth

    async def main() -> list[Any]:
        async with (
            async_sqlite_store(Path(job["path"])) as store,
            async_http_client(job["url"]) as http,
            AsyncUserAuth(integration(job), store, http=http) as auth,
        ):
            callers = (auth.access_token(USER) for _ in range(job["callers"]))
            return await asyncio.gather(*callers, return_exceptions=True)

    return asyncio.run(asyncio.wait_for(main(), PATIENCE))


def ask_and_die(job: dict[str, Any]) -> list[Any]:
    """Refresh, and be killed at the named point (by the parent, if it is one inside amoCRM)."""
    point = job["point"]
    with sqlite_store(Path(job["path"])) as store:
        http = httpx.Client(transport=DyingTransport(http_transport(job["url"]), point), timeout=PATIENCE)
        with http, UserAuth(integration(job), DyingStore(store, point), http=http) as auth:
            return [auth.access_token(USER)]


DO = {"threads": ask_in_threads, "tasks": ask_in_tasks, "die": ask_and_die}


def told(result: Any) -> str:
    """A token as it is, an error by its code, so that the parent can count them."""
    if isinstance(result, AmoCRMUserAuthError):
        return f"error:{result.code}"
    return result if isinstance(result, str) else f"error:{result!r}"


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        sys.stdout.write(json.dumps([told(result) for result in DO[job["do"]](job)]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
