"""The invariants: what may be presented, who may be lost, what a caller may get. Written down as it happens."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from amocrm_userauth import UserToken
from amocrm_userauth._core.decisions import expires_at
from amocrm_userauth.errors import (
    AmoCRMUnavailable,
    AmoCRMUserAuthError,
    CallbackError,
    ConfigurationError,
    GrantRevoked,
    NotConnected,
    ProtocolError,
    RefreshInProgress,
    StoreUnavailable,
    TokenNotSaved,
)

if TYPE_CHECKING:
    from datetime import datetime

    from tests.interleavings.amocrm import Pair
    from tests.interleavings.world import Actor, Process, World

_SKEW = 2.0  # pauses pass for the one who pauses only, so clocks differ by a little


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True, eq=False)
class Lease:
    """A lease as the store granted it, on the holder's own clock."""

    holder: str
    process: "Process"
    tokens: tuple[str, ...]
    deadline: float
    until: float
    over: bool = False


@dataclass(slots=True, eq=False)
class Presentation:
    """One request that carries a refresh token or a code.

    ``outcome``: ``""`` on its way, ``failed`` before amoCRM looked at it, ``elsewhere`` (a host that is not the
    account's), ``refused``, ``issued``. ``answered``: its process has read the answer. ``lost``: the answer says
    nothing. ``given_up``: nobody waits for the answer any more.
    """

    name: str
    process: "Process"
    token: str
    is_code: bool
    user: str
    lease: Lease | None
    outcome: str = ""
    pair: "Pair | None" = None
    answered: bool = False
    lost: bool = False
    given_up: bool = False
    committed: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """One caller: what the row held while the call was under way, and how it ended.

    ``bans``, of a disconnect: the connections that had been given up, unsaved, when it began.
    """

    actor: "Actor"
    begun: "datetime"
    bans: frozenset[str] = frozenset()
    tokens: set[str] = field(default_factory=set)
    absent: bool = False
    marked: bool = False
    ended: bool = False
    outcome: Any = None


class Judge:
    """Watches one world and raises :class:`Violation`."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.presentations: list[Presentation] = []
        self.leases: dict[str, Lease] = {}
        self.calls: list[Call] = []
        self.overrun: set[str] = set()
        self.disturbed: set[str] = set()
        self.disconnected: set[str] = set()
        self.banned: set[str] = set()
        self.trouble = False
        self.store_trouble = False
        self.good_until: dict[str, datetime] = {}
        self.late = False
        self.broken: list[str] = []

    def verdict(self) -> None:
        """Raise what was found: it is only noted where it happens, as the service takes exceptions for failures."""
        if self.broken:
            raise Violation(self.broken[0])

    def key(self) -> object:
        presented = frozenset(
            (one.name, one.outcome, one.answered, one.lost, one.given_up, one.committed, one.lease and one.lease.over)
            for one in self.presentations
        )
        calls = frozenset(
            (number, frozenset(call.tokens), call.absent, call.marked, call.bans)
            for number, call in enumerate(self.calls)
            if not call.ended
        )
        return (presented, calls, frozenset(self.overrun), frozenset(self.disconnected), frozenset(self.banned))

    # calls

    def begin(self, actor: "Actor") -> Call:
        call = Call(actor, self.world.processes[actor.process].wall())
        if actor.kind == "disconnect":
            call.bans = frozenset(code for other in self.calls for code in self._unsaved_codes(other, actor.user))
        self.calls.append(call)
        self._show(call, self.world.store._rows.get(actor.user))
        return call

    def _show(self, call: Call, row: UserToken | None) -> None:
        if row is None:
            call.absent = True
            return
        call.tokens.add(row.pair.access_token)
        # as far as can be known: an answer may have been read long after it was given
        self.good_until[row.pair.access_token] = expires_at(row)
        call.marked = call.marked or row.reauth_reason is not None

    def _shown(self, user: str) -> None:
        row = self.world.store._rows.get(user)
        for call in self.calls:
            if not call.ended and call.actor.user == user:
                self._show(call, row)

    def ended(self, process: "Process", call: Call, outcome: Any) -> None:
        """Check what a caller got."""
        call.ended = True
        call.outcome = outcome
        if isinstance(outcome, BaseException):
            self._explained(call, outcome)
        elif isinstance(outcome, str):
            self._served(process, call, outcome)

    def _served(self, process: "Process", call: Call, token: str) -> None:
        user, world = call.actor.user, self.world
        pair = world.amocrm.by_access.get(token)
        if pair is None or pair.grant.user != user:
            self.broken.append(f"{process.name} handed out a token that is not {user}'s: {_short(token)}")
            return
        # one that runs out while its caller waits or is stopped may be handed out: nobody can do better for the latter
        if token in self.good_until and self.good_until[token] <= call.begun:
            self.broken.append(f"{process.name} handed out a token that has run out: {_short(token)}")
        unsaved = process.service._scope.unsaved.get(user)
        in_hand = unsaved is not None and unsaved.token.pair.access_token == token and self.store_trouble
        if token not in call.tokens and not in_hand:
            self.broken.append(f"{process.name} handed out {_short(token)}, which was never the row's during the call")
        if pair.access_dead and user not in self.overrun | self.disturbed:
            self.broken.append(f"{process.name} handed out {_short(token)}, which amoCRM does not take")

    def _explained(self, call: Call, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            if not self.world.rules.cancels:
                self.broken.append(f"{call.actor} was cancelled by nobody")
            return
        if not isinstance(error, AmoCRMUserAuthError):
            self.broken.append(f"{call.actor} got {error!r}, which is no error of ours")
        expected = {
            NotConnected: call.absent,
            GrantRevoked: call.marked,
            # a connect has no lease to come back to when its time is over
            AmoCRMUnavailable: self.trouble or (self.late and call.actor.kind.startswith("connect")),
            ProtocolError: self.trouble,
            RefreshInProgress: True,
            StoreUnavailable: self.store_trouble,
            TokenNotSaved: self.store_trouble,
            ConfigurationError: False,
        }
        allowed = expected.get(type(error), isinstance(error, CallbackError) and call.actor.kind.startswith("connect"))
        if not allowed:
            self.broken.append(f"{call.actor} got {type(error).__name__} for no reason: {error}")

    # the store

    def failed(self, process: "Process", name: str) -> None:
        self.store_trouble = True

    def stored(
        self,
        process: "Process",
        name: str,
        args: Any,
        more: Any,
        user: str,
        before: UserToken | None,
        result: Any,
        begun: float,
    ) -> None:
        """Look at one call to the store, after its effect."""
        if name == "get":
            process.looked = True
            return
        if name == "remember_code":
            # the mark of a disconnect: from now on the user is leaving
            for call in self.calls:
                call.absent = call.absent or not call.ended
            return
        after = self.world.store._rows.get(user)
        if name == "take_lease":
            self._leased(process, more, before, result, begun)
        elif name in {"commit", "put"} and after is not before:
            self._written(process, name, args[0], more, before)
        elif name == "note_failure" and after is not before:
            self._noted(process, more, before, after)
        elif name == "delete":
            self._deleted(process, user)
        if after is not before:
            self._shown(user)

    def _leased(self, process: "Process", more: Any, before: UserToken | None, row: Any, begun: float) -> None:
        holder = more["holder"]
        if row is None or row.lease_holder != holder or row.revision != more["revision"]:
            return
        taken = before.lease_holder if before is not None else None
        old = self.leases.get(taken or "")
        if old is not None and taken != holder and process.monotonic() + _SKEW >= old.until:
            old.over = True
            if any(one.lease is old for one in self.presentations):
                self.overrun.add(row.user_id)
        previous = row.previous_refresh_token
        tokens = (row.pair.refresh_token, previous() if callable(previous) else previous or "")
        self.leases[holder] = Lease(holder, process, tokens, begun + 20.0, begun + 90.0)

    def _written(self, process: "Process", name: str, token: UserToken, more: Any, before: UserToken | None) -> None:
        user = token.user_id
        pair = self.world.amocrm.by_refresh.get(token.pair.refresh_token)
        if pair is None or pair.grant.user != user:
            self.broken.append(f"{process.name} stored a pair for {user} that is not theirs")
            return
        if name == "commit":
            if before is None:
                self.broken.append(f"a disconnected user came back: {process.name}'s commit made a row for {user}")
                return
            old = self.world.amocrm.by_refresh[before.pair.refresh_token]
            if old.grant is not pair.grant:
                self.broken.append(
                    f"a reconnect was overwritten: {process.name}'s commit replaced the new grant of {user}"
                )
        elif token.code_hash in self.banned:
            self.broken.append(f"a disconnected user came back: {process.name} stored the connection of {user} late")
        for one in self.presentations:
            if one.pair is pair:
                one.committed = True
        self.disconnected.discard(user)

    def _deleted(self, process: "Process", user: str) -> None:
        self.disconnected.add(user)
        for call in self.calls:
            if not call.ended and call.actor.process == process.name and call.actor.user == user:
                self.banned |= call.bans

    def _unsaved_codes(self, call: Call, user: str) -> list[str]:
        """The code of a connect that has ended without being saved."""
        if call.actor.user != user or not isinstance(call.outcome, (TokenNotSaved, StoreUnavailable)):
            return []
        process = self.world.processes[call.actor.process]
        unsaved = process.service._scope.unsaved.get(user)
        return [] if unsaved is None or unsaved.over is not None else [unsaved.token.code_hash]

    def _noted(self, process: "Process", more: Any, before: UserToken | None, after: UserToken | None) -> None:
        lease = self.leases.get(more["holder"])
        if before is not None and before.lease_holder != more["holder"]:
            self.broken.append(f"{process.name} ended the lease of {before.lease_holder}")
        if lease is not None:
            lease.over = True
        if more["failure"].reauth_reason is None:
            return
        if not process.looked:
            self.broken.append(f"{process.name} condemned {after and after.user_id} without another look")
        previous = before.previous_refresh_token if before is not None else None
        spare = previous() if callable(previous) else previous
        if spare and self.world.amocrm.by_refresh[spare].state == "alive":
            self.broken.append(f"{process.name} condemned {after and after.user_id} although the previous token works")

    # amoCRM

    def sent(self, process: "Process", fields: dict[str, str], name: str) -> Presentation:
        """A request leaves its process: now its lease must outlast it."""
        is_code = fields["grant_type"] != "refresh_token"
        token = fields["code" if is_code else "refresh_token"]
        lease = None
        user = ""
        if not is_code:
            user = self.world.amocrm.by_refresh[token].grant.user
            held = [one for one in self.leases.values() if one.process is process and token in one.tokens]
            if not held:
                self.broken.append(f"{process.name} presented {token} without a lease")
            lease = held[-1] if held else None
            if lease is not None and process.monotonic() >= lease.deadline:
                self.broken.append(f"{process.name} presented {token} when the time of its lease was over")
        presented = Presentation(name, process, token, is_code, user, lease)
        self.presentations.append(presented)
        return presented

    def arriving(self, presented: Presentation) -> None:
        """Invariant 1: each earlier presentation has come to nothing, or nobody knows what to."""
        before = [
            one for one in self.presentations if one.token == presented.token and one is not presented and one.outcome
        ]
        for one in before:
            if not self._may_be_repeated(one, presented):
                self.broken.append(
                    f"{presented.token} was presented by {presented.name} although {one.name} had spent it"
                )

    def _may_be_repeated(self, one: Presentation, by: Presentation) -> bool:
        if one.outcome in {"failed", "elsewhere", "refused"} or one.lost or one.given_up:
            return True
        if one.is_code or one.lease is None:
            return False
        if one.lease.over or self.world.now + _SKEW >= one.lease.until:
            return True
        # it was sent in time, which is checked where it is sent, and arrives late
        if by.given_up or (by.lease is not None and by.lease.over):
            return True
        # as the previous token, after the stored one was refused under the same lease
        return self._refused_before(by)

    def _refused_before(self, presented: Presentation) -> bool:
        return presented.lease is not None and any(
            other.lease is presented.lease and other.token != presented.token and other.outcome == "refused"
            for other in self.presentations
        )

    def arrived(self, presented: Presentation, outcome: str, pair: "Pair | None") -> None:
        presented.outcome = outcome
        presented.pair = pair
        if outcome in {"failed", "elsewhere"}:
            self.trouble = True
        if presented.given_up or (presented.lease is not None and presented.lease.over):
            self.disturbed.add(presented.user)

    def lose(self, presented: Presentation) -> None:
        """The answer says nothing of what was done."""
        presented.lost = self.trouble = True

    def answered(self, presented: Presentation) -> None:
        presented.answered = True
        if presented.outcome == "refused" and not self._refused_before(presented):
            presented.process.looked = False

    def crashed(self, process: "Process") -> None:
        return

    # the end

    def may_be_lost(self, user: str) -> bool:
        """Say whether the last pair of the user's stored grant was really lost on its way."""
        world = self.world
        row = world.store._rows.get(user)
        if row is None or world.rules.rotation == "lenient":
            return False
        if world.rules.rotation == "family" and user in self.overrun | self.disturbed:
            return True
        grant = world.amocrm.by_refresh[row.pair.refresh_token].grant
        return any(
            one.pair is not None
            and one.pair.grant is grant
            and not one.committed
            and (not one.answered or one.lost or not one.process.alive)
            for one in self.presentations
        )


def _short(token: str) -> str:
    return token.rpartition(".")[2]
