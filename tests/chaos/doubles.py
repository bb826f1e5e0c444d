"""Guards switched off, to show that their absence is found. None of this is reachable from the product."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from tests.chaos.watching import Steps, now


class Unleased(Steps):
    """Everybody may spend, and nobody sees that another is at it."""

    async def get(self, user_id: str, **more: Any) -> Any:
        row = await now(self.inner.get(user_id, **more))
        return None if row is None else replace(row, lease_holder=None, lease_until=None)

    async def take_lease(self, user_id: str, *, holder: str, **more: Any) -> Any:
        row = await now(self.inner.take_lease(user_id, holder=holder, **more))
        return None if row is None else replace(row, lease_holder=holder)


class Unconditional(Steps):
    """A pair is written over whatever is there."""

    async def commit(self, token: Any, *, over: str, keep_previous: bool) -> Any:
        row = await now(self.inner.get(token.user_id))
        if row is None:
            await now(self.inner.put(token))
            return token
        return await now(self.inner.commit(token, over=row.revision, keep_previous=keep_previous))


class Forgetful(Steps):
    """A token in doubt is not kept beside the pair that came of it."""

    async def take_lease(self, user_id: str, **more: Any) -> Any:
        row = await now(self.inner.take_lease(user_id, **more))
        return None if row is None else replace(row, previous_refresh_token=None)


class Undoubting(Forgetful):
    """An unknown outcome is not recorded."""

    async def note_failure(self, user_id: str, *, failure: Any, **more: Any) -> Any:
        return await now(self.inner.note_failure(user_id, failure=replace(failure, in_doubt=False), **more))

    async def take_lease(self, user_id: str, **more: Any) -> Any:
        row = await super().take_lease(user_id, **more)
        return None if row is None else replace(row, in_doubt=False)


class Twice(Steps):
    """A state may be claimed by anybody."""

    async def claim(self, *, claimant: str, **more: Any) -> Any:
        record = await now(self.inner.claim(claimant=claimant, **more))
        return replace(record, outcome="claimed", claimant=claimant)


class Unshielded:
    """The work of a refresh is done by its caller's own task, and dies with it."""

    def find(self, _key: object) -> None:
        return None

    def start(self, _key: object, work: Callable[[], Awaitable[Any]], _mine: set[object]) -> Any:
        class Flight:
            async def wait(self, _timeout: float | None = None) -> Any:
                return await work()

        return Flight()


STORES = {"lease": Unleased, "swap": Unconditional, "fallback": Forgetful, "doubt": Undoubting, "claim": Twice}


def weakened(store: Any, without: str) -> Any:
    """Return the store without one of its guards."""
    return STORES[without](store) if without in STORES else Steps(store)
