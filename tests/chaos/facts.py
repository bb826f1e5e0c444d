"""What the journals of a run say, put together: who was stopped when, which request went under which lease."""

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

from tests.chaos.journal import Record

FOREVER = float("inf")


@dataclass(slots=True)
class History:
    """A run as it can be judged: journals in the order of time, amoCRM's own books, and the rows at the end.

    ``rows`` is ``None`` while the run goes on, and ``books_at`` when the books were read. All times are amoCRM's.
    """

    records: list[Record]
    presentations: list[Record]
    ledger: list[Record]
    rows: dict[str, Record | None] | None
    rotation: str
    speed: float = 1.0
    books_at: float = FOREVER


@dataclass(slots=True)
class Trip:
    """One request to the token endpoint, as its sender saw it. ``None``: that did not happen."""

    worker: str
    holder: str
    user: str
    token: str
    asked: float
    sending: float | None = None
    answer: float | None = None
    status: int | None = None
    issued: str = ""
    broken: float | None = None
    error: str = ""


@dataclass(slots=True)
class Lease:
    """The right to spend one token: asked for at ``began`` (the holder's own clock starts there), had at ``granted``."""

    worker: str
    holder: str
    user: str
    revision: str
    token: str
    spare: str
    doubt: bool
    began: float
    granted: float


@dataclass(slots=True)
class Write:
    """One change of a row. ``result``: it was made, or not; ``None``: nobody knows. ``ended`` is infinite for a killed one."""

    kind: str
    worker: str
    user: str
    began: float
    ended: float = FOREVER
    result: bool | None = None
    revision: str = ""
    over: str = ""
    token: str = ""
    holder: str = ""
    mark: str = ""


@dataclass(slots=True)
class Call:
    """One call of the service. ``out`` is ``ok``, an error's code, ``cancelled``, or an exception with ``!``."""

    worker: str
    op: str
    user: str
    began: float
    ended: float = FOREVER
    out: str = ""
    token: str = ""
    why: str = ""


_WRITES = {
    "noting": "note", "committing": "commit", "putting": "put", "deleting": "delete",
}  # fmt: skip
_WRITTEN = {"noted", "committed", "put", "deleted"}


@dataclass(slots=True, weakref_slot=True)
class _Store:
    trips: dict[str, Trip] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    writes: dict[str, Write] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)


class Facts:
    """A history, looked up by what an audit asks for."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.speed = history.speed
        self.noise = 0.3 * history.speed
        self.end = history.records[-1]["t"] if history.records else 0.0
        self.deaths: dict[str, float] = {}
        self.stops: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.points: list[Record] = []
        self.skews: dict[str, float] = {}
        self.others: dict[str, list[Record]] = defaultdict(list)
        self._found = _Store()
        for record in history.records:
            self._take(record)

    # reading

    def _take(self, record: Record) -> None:
        kind, found = record["k"], self._found
        if kind == "call":
            found.calls[record["id"]] = Call(record["w"], record["op"], record["u"], record["t"])
        elif kind == "end":
            self._end_call(record)
        elif kind == "lease":
            self._lease(record)
        elif kind in _WRITES:
            self._begin_write(record)
        elif kind in _WRITTEN:
            self._end_write(record)
        elif kind == "asking":
            found.trips[record["id"]] = Trip(record["w"], record["holder"], record["u"], record["fp"], record["t"])
        elif kind in {"sending", "answer", "broken"}:
            self._travel(found.trips[record["id"]], record)
        else:
            self._happen(kind, record)

    def _end_call(self, record: Record) -> None:
        call = self._found.calls[record["id"]]
        call.ended, call.out = record["t"], record["out"]
        call.token, call.why = record.get("fp", ""), record.get("why", "")

    def _lease(self, record: Record) -> None:
        known = self._found.leases.get(record["holder"])
        if known is not None:
            known.granted = record["t"]
            return
        self._found.leases[record["holder"]] = Lease(
            worker=record["w"],
            holder=record["holder"],
            user=record["u"],
            revision=record["rev"],
            token=record["fp"],
            spare=record["spare"],
            doubt=record["doubt"],
            began=record["began"],
            granted=record["t"],
        )

    def _begin_write(self, record: Record) -> None:
        self._found.writes[record["id"]] = Write(
            kind=_WRITES[record["k"]],
            worker=record["w"],
            user=record["u"],
            began=record["t"],
            revision=record.get("rev") or "",
            over=record.get("over", ""),
            token=record.get("fp", ""),
            holder=record.get("holder", ""),
            mark=record.get("mark") or "",
        )

    def _end_write(self, record: Record) -> None:
        write = self._found.writes[record["id"]]
        write.ended = record["t"]
        write.result = None if "error" in record else record["result"]

    @staticmethod
    def _travel(trip: Trip, record: Record) -> None:
        if record["k"] == "sending":
            trip.sending = record["t"]
        elif record["k"] == "answer":
            trip.answer, trip.status, trip.issued = record["t"], record["status"], record["issued"]
        else:
            trip.broken, trip.error = record["t"], record["error"]

    def _happen(self, kind: str, record: Record) -> None:
        if kind == "born":
            self.skews[record["on"]] = record["skew"]
        elif kind == "point":
            self.points.append(record)
            if record["do"] == "kill":
                self.deaths.setdefault(record["w"], record["t"])
            else:
                self.stops[record["w"]].append((record["t"], FOREVER))
        elif kind in {"killed", "died", "crashed"}:
            self.deaths.setdefault(record["on"], record["t"])
        elif kind == "stopped":
            self.stops[record["on"]].append((record["t"], FOREVER))
        elif kind == "continued":
            stops = self.stops[record["on"]]
            if stops and stops[-1][1] == FOREVER:
                stops[-1] = (stops[-1][0], record["t"])
        self.others[kind].append(record)

    # asking

    @property
    def trips(self) -> dict[str, Trip]:
        return self._found.trips

    @property
    def leases(self) -> dict[str, Lease]:
        return self._found.leases

    @property
    def calls(self) -> list[Call]:
        return list(self._found.calls.values())

    @cached_property
    def writes(self) -> dict[str, list[Write]]:
        """Every user's, in the order they began."""
        found: dict[str, list[Write]] = defaultdict(list)
        for write in self._found.writes.values():
            found[write.user].append(write)
        return found

    @cached_property
    def commits(self) -> dict[str, list[Write]]:
        """By the refresh token that they store."""
        found: dict[str, list[Write]] = defaultdict(list)
        for write in self._found.writes.values():
            if write.kind in {"commit", "put"}:
                found[write.token].append(write)
        return found

    @cached_property
    def notes(self) -> dict[str, list[Write]]:
        """By the holder whose lease they end."""
        found: dict[str, list[Write]] = defaultdict(list)
        for write in self._found.writes.values():
            if write.kind == "note":
                found[write.holder].append(write)
        return found

    @cached_property
    def presented(self) -> dict[tuple[str, str], list[Record]]:
        """The calls of the token endpoint by grant type and token, in the order they came in."""
        found: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for seen in sorted(self.history.presentations, key=lambda one: one["at"]):
            found[seen["grant_type"], seen["fingerprint"]].append(seen)
        return found

    @cached_property
    def pairs(self) -> dict[str, Record]:
        """The ledger by refresh token."""
        return {entry["fingerprint"]: entry for entry in self.history.ledger}

    @cached_property
    def access(self) -> dict[str, Record]:
        """The ledger by access token."""
        return {entry["access_fingerprint"]: entry for entry in self.history.ledger}

    def trip_of(self, seen: Record) -> Trip | None:
        return self.trips.get(seen["request_id"])

    def stopped(self, worker: str, since: float, until: float) -> float:
        """Return for how long a worker was stopped between two times."""
        return sum(max(0.0, min(b, until) - max(a, since)) for a, b in self.stops.get(worker, ()))

    def death(self, worker: str) -> float:
        return self.deaths.get(worker, FOREVER)

    def stored(self, token: str, before: float = FOREVER) -> Write | None:
        """Return what certainly stored the pair of this refresh token."""
        return next((write for write in self.commits.get(token, ()) if write.result and write.began <= before), None)

    def killed_at(self, worker: str, user: str) -> str:
        """Return the named point of this user's refresh at which a worker was killed."""
        found = (one for one in self.points if (one["w"], one["u"], one["do"]) == (worker, user, "kill"))
        return next((one["point"] for one in found), "")
