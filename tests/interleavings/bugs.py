"""Planted bugs: each takes one rule away, in a store or a service of the tests, and must be found."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from amocrm_userauth import AsyncMemoryTokenStore, UserToken


class GrantsTwice(AsyncMemoryTokenStore):
    """Gives the lease to whoever asks."""

    async def take_lease(self, user_id: str, *, holder: str, until: Any, **more: Any) -> UserToken | None:
        row = self._rows.get(user_id)
        if row is not None and row.revision == more["revision"]:
            self._rows[user_id] = row = replace(row, lease_holder=holder, lease_until=until)
        return row


class CommitsBlindly(AsyncMemoryTokenStore):
    """Writes a pair over whatever is there."""

    async def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> UserToken | None:
        row = self._rows.get(token.user_id)
        if row is not None:
            return await super().commit(token, over=row.revision, keep_previous=keep_previous)
        self._rows[token.user_id] = replace(token, previous_refresh_token=None)
        return token


class KeepsNoSpare(AsyncMemoryTokenStore):
    """Forgets the token that a doubtful pair was bought with."""

    async def commit(self, token: UserToken, **more: Any) -> UserToken | None:
        row = await super().commit(token, **more)
        if row is not None:
            self._rows[row.user_id] = row = replace(row, previous_refresh_token=None)
        return row


class TrustsTheSilent(AsyncMemoryTokenStore):
    """Does not put a revision in doubt whose lease ran out unreported."""

    async def take_lease(self, user_id: str, **more: Any) -> UserToken | None:
        before = self._rows.get(user_id)
        row = await super().take_lease(user_id, **more)
        if row is not None and before is not None and row.lease_holder == more["holder"]:
            self._rows[user_id] = row = replace(row, in_doubt=before.in_doubt)
        return row


class OnlyMarks(AsyncMemoryTokenStore):
    """Keeps the row of a disconnected user, with a mark on it."""

    async def delete(self, user_id: str, *, revision: str | None = None) -> bool:
        row = self._rows.get(user_id)
        if row is None or revision not in {None, row.revision}:
            return False
        self._rows[user_id] = replace(row, reauth_reason="revoked")
        return True


class NotesAnybodysFailure(AsyncMemoryTokenStore):
    """Ends the lease that is there, whosever it is."""

    async def note_failure(self, user_id: str, **more: Any) -> bool:
        row = self._rows.get(user_id)
        if row is None:
            return False
        return await super().note_failure(
            user_id, **{**more, "revision": row.revision, "holder": row.lease_holder or more["holder"]}
        )


class KeepsTheMark(AsyncMemoryTokenStore):
    """Leaves a user condemned although a good pair arrives late."""

    async def commit(self, token: UserToken, **more: Any) -> UserToken | None:
        before = self._rows.get(token.user_id)
        row = await super().commit(token, **more)
        if row is not None and before is not None and row.revision == token.revision:
            self._rows[row.user_id] = row = replace(row, reauth_reason=before.reauth_reason)
        return row


def condemns_at_once(service: Any) -> None:
    """A refusal condemns without another look."""
    renewer = service._server._renewer

    async def look_again(lease: Any) -> UserToken:
        return lease.row

    renewer._look_again = look_again


def hands_out_its_own(service: Any) -> None:
    """A commit that misses hands out its own pair."""
    saver = service._server._renewer._saver
    save = saver.save

    async def own(unsaved: Any) -> UserToken | None:
        row = await save(unsaved)
        return None if row is None else unsaved.token

    saver.save = own


def has_no_deadline(service: Any) -> None:
    """A holder sends whenever it comes to it."""
    renewer = service._server._renewer
    take = renewer._take

    async def unbounded(*args: Any, **more: Any) -> Any:
        lease = await take(*args, **more)
        if hasattr(lease, "deadline"):
            lease.deadline = inf
        return lease

    renewer._take = unbounded


class _Unshielded:
    """Work that is done by the caller's own task, and dies with it."""

    def find(self, _key: object) -> None:
        return None

    def start(self, _key: object, work: Callable[[], Any], _mine: set[object]) -> Any:
        class Flight:
            async def wait(self, timeout: float | None = None) -> Any:
                return await work()

        return Flight()


def has_no_shield(service: Any) -> None:
    """A cancelled caller takes the exchange with it."""
    service._scope.flights = _Unshielded()


def drops_the_pair(service: Any) -> None:
    """A commit that fails is not tried again, and nobody keeps the pair."""
    saver, scope = service._server._renewer._saver, service._scope

    async def once(unsaved: Any) -> Any:
        row = await saver._attempt(unsaved)
        scope.unsaved.pop(unsaved.token.user_id, None)
        if isinstance(row, Exception):
            raise row
        return row

    saver.save = once


def sees_no_departures(service: Any) -> None:
    """A connection that could not be saved at once is saved later, whoever has left meanwhile."""

    async def none(_user: str) -> frozenset[str]:
        return frozenset()

    service._departures.seen = none


@dataclass(frozen=True, slots=True)
class Bug:
    """``store`` or ``rig`` makes it; ``found``: the scenario and the reading in which the explorer must find it."""

    name: str
    scenario: str
    reading: str
    why: str
    store: type[AsyncMemoryTokenStore] = AsyncMemoryTokenStore
    rig: Callable[[Any], None] | None = None


BUGS = [
    Bug("a lease that is granted twice", "three callers", "strict", "had spent it", store=GrantsTwice),
    Bug(
        "a commit without compare-and-swap undoes a disconnect",
        "two callers and a disconnect",
        "strict",
        "came back",
        store=CommitsBlindly,
    ),
    Bug(
        "a commit without compare-and-swap undoes a reconnect",
        "two callers and a reconnect",
        "strict",
        "overwritten",
        store=CommitsBlindly,
    ),
    Bug(
        "condemning without another look",
        "two callers, and time passes",
        "strict",
        "another look",
        rig=condemns_at_once,
    ),
    Bug("no previous token to fall back on", "two callers, and time passes", "lenient", "is lost", store=KeepsNoSpare),
    Bug(
        "no doubt about a lease that ran out unreported",
        "two callers, and time passes",
        "lenient",
        "is lost",
        store=TrustsTheSilent,
    ),
    Bug(
        "a commit that misses hands out its own pair",
        "two callers, and time passes",
        "lenient",
        "never the row's",
        rig=hands_out_its_own,
    ),
    Bug(
        "no look at the deadline before the send",
        "two callers, and time passes",
        "strict",
        "was over",
        rig=has_no_deadline,
    ),
    Bug(
        "a disconnect that only marks the row",
        "two callers and a disconnect",
        "strict",
        "disconnected",
        store=OnlyMarks,
    ),
    Bug(
        "a failure noted on anybody's lease",
        "two callers, an answer is lost, and time passes",
        "strict",
        "ended the lease",
        store=NotesAnybodysFailure,
    ),
    Bug("a late pair that leaves the mark", "two callers, and time passes", "strict", "is lost", store=KeepsTheMark),
    Bug(
        "no shield around the exchange",
        "a caller who is cancelled, and two others",
        "strict",
        "is lost",
        rig=has_no_shield,
    ),
    Bug(
        "a pair that is dropped when the commit fails",
        "two callers, and the store fails once",
        "strict",
        "is lost",
        rig=drops_the_pair,
    ),
    Bug(
        "an unsaved connection that knows of no disconnect",
        "a first connect that cannot be saved, and a disconnect",
        "strict",
        "came back",
        rig=sees_no_departures,
    ),
]
