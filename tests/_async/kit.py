"""A service on the fake amoCRM, a user who is connected, and stores that fail when told to."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import ClassVar

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, ConnectionStatus
from amocrm_userauth._pairs import AsyncTime
from amocrm_userauth.events import Event
from amocrm_userauth.testing import FakeAmoCRM
from tests.pairs import AsyncSkippingTime

DAY = 86_400


class AsyncImpatientUserAuth(AsyncUserAuth):
    """The service, with pauses that pass at once."""

    _make_time: ClassVar[type[AsyncTime]] = AsyncSkippingTime


class AsyncFailingStore(AsyncMemoryTokenStore):
    """A store whose next calls of a name fail: ``store.failing["commit"] = 3``."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: dict[str, int] = {}
        self.calls: list[str] = []

    def _step(self, name: str) -> None:
        self.calls.append(name)
        if self.failing.get(name, 0) > 0:
            self.failing[name] -= 1
            raise OSError("example: the database said no")

    async def get(self, user_id, *, with_tokens=True):
        self._step("get")
        return await super().get(user_id, with_tokens=with_tokens)

    async def put(self, token):
        self._step("put")
        await super().put(token)

    async def take_lease(self, user_id, **more):
        self._step("take_lease")
        return await super().take_lease(user_id, **more)

    async def commit(self, token, **more):
        self._step("commit")
        return await super().commit(token, **more)

    async def note_failure(self, user_id, **more):
        self._step("note_failure")
        return await super().note_failure(user_id, **more)

    async def finish(self, **more):
        self._step("finish")
        return await super().finish(**more)


class AsyncApartStore(AsyncMemoryTokenStore):
    """The same rows as ``store``, sharing nothing else with its service objects, as in another process."""

    def __init__(self, store: AsyncMemoryTokenStore) -> None:
        self.__dict__ = store.__dict__


@asynccontextmanager
async def serving(
    fake: FakeAmoCRM,
    store: AsyncMemoryTokenStore | None = None,
    *,
    kind: type[AsyncUserAuth] = AsyncImpatientUserAuth,
    events: list[Event] | None = None,
    integration: dict[str, object] | None = None,
    **options: object,
) -> AsyncIterator[AsyncUserAuth]:
    """A service on ``store`` that lives by the fake's clock."""
    options.setdefault("clock", fake.now)
    on_event: Callable[[Event], None] | None = None if events is None else events.append
    async with (
        fake.async_http_client() as http,
        kind(
            replace(fake.integration(), **(integration or {})),
            store or AsyncMemoryTokenStore(),
            http=http,
            on_event=on_event,
            **options,
        ) as auth,
    ):
        yield auth


async def connect(auth: AsyncUserAuth, fake: FakeAmoCRM, user_id: str = "42", user: str = "anna") -> ConnectionStatus:
    """Take the user through the whole connect flow."""
    request = await auth.begin(user_id)
    code = fake.authorize(user=user, state=request.state)
    return await auth.connect(user_id, code=code, state=request.state, referer=fake.host(user))


async def stored(auth: AsyncUserAuth, user_id: str = "42"):
    """Return the stored row."""
    row = await auth.store.get(user_id)
    assert row is not None
    return row


def refreshes(fake: FakeAmoCRM, user: str = "anna") -> int:
    """Return how many refresh calls this user has made."""
    return fake.token_calls(user, "refresh_token")


async def assert_in_step(auth: AsyncUserAuth, fake: FakeAmoCRM, user_id: str = "42", user: str = "anna") -> None:
    """Assert that the stored pair is one that amoCRM would accept."""
    row = await stored(auth, user_id)
    assert fake.accepts(row.pair.refresh_token)
    assert fake.is_alive(row.pair, user)
