"""Invariant 1: a refresh token is presented again only if that can be, and each time under a lease.

It can be if every earlier presentation ended unknown, was never reported (its holder's lease ran out), was refused, or
was answered by a moved account's old host. One more case follows from the rules of the library: a token whose pair was
stored in doubt is kept as a spare, and presented once more when that pair is refused.
"""

from collections.abc import Iterator

from tests.chaos.facts import Facts, Lease, Trip
from tests.chaos.findings import Violation
from tests.chaos.journal import Record
from tests.chaos.options import EXCHANGE, LEASE

_CONDEMNING = {"Token has been revoked", "Token has expired", "Cannot decrypt the refresh token"}


def violations(facts: Facts) -> Iterator[Violation]:
    """Find every presentation that should not have been."""
    for (grant, _), seen in facts.presented.items():
        if grant == "refresh_token":
            yield from _refreshes(facts, seen)
        else:
            yield from _codes(facts, seen)


def spares(facts: Facts) -> int:
    """Count the presentations of a spare."""
    return sum(
        1 for trip in facts.trips.values() if (lease := facts.leases.get(trip.holder)) and lease.spare == trip.token
    )


def overtaken(facts: Facts, seen: Record, trip: Trip | None) -> bool:
    """Whether the sender was stopped between its last look at the clock and the wire: no client can close that gap."""
    return trip is not None and trip.sending is not None and facts.stopped(trip.worker, trip.sending, seen["at"]) > 0


def _refreshes(facts: Facts, seen: list[Record]) -> Iterator[Violation]:
    known: list[tuple[Record, Trip, Lease]] = []
    for one in seen:
        trip = facts.trip_of(one)
        lease = facts.leases.get(trip.holder) if trip else None
        if trip is None or lease is None or one["fingerprint"] not in {lease.token, lease.spare}:
            yield _wrong(one, "presented without a lease")
            continue
        if trip.sending is not None and trip.sending > lease.began + EXCHANGE + facts.noise:
            held = facts.stopped(trip.worker, trip.asked, trip.sending)
            if trip.sending - held > lease.began + EXCHANGE + facts.noise:
                late = trip.sending - lease.began
                yield _wrong(one, f"sent by {trip.worker} {late:.1f} s after its lease began: no longer its to send")
        for earlier in [] if overtaken(facts, one, trip) else known:
            why = _forbidden(facts, earlier, (one, trip, lease))
            if why:
                yield _wrong(one, why)
                break
        known.append((one, trip, lease))


def _wrong(seen: Record, why: str) -> Violation:
    return Violation(1, seen["user"], f"token {seen['fingerprint']} {why}", seen["at"])


def _forbidden(facts: Facts, first: tuple[Record, Trip, Lease], again: tuple[Record, Trip, Lease]) -> str:
    """Say why the second presentation of a token should not have been, ``""`` if it may be."""
    seen, trip, lease = first
    _, later, newer = again
    if trip.holder == later.holder:
        return "" if _elsewhere(seen) else f"presented twice under one lease, by {later.worker}"
    if not _over(facts, lease, newer):
        return f"presented under two leases at once, by {trip.worker} and {later.worker}"
    if seen["outcome"] != "issued":
        return ""
    stored = facts.stored(seen["issued"], before=newer.granted)
    if stored is not None:
        return "" if _as_spare(facts, trip, lease, later, newer) else "presented again although its pair was stored"
    if _dropped(facts, trip, lease, newer):
        return f"presented again although {trip.worker} had the whole answer"
    return ""


def _elsewhere(seen: Record) -> bool:
    return seen["outcome"] != "issued" and (
        seen["status"] == 404
        or seen["hint"] == "Invalid account"
        or (seen["status"] == 401 and seen["hint"] not in _CONDEMNING)
    )


def _over(facts: Facts, lease: Lease, newer: Lease) -> bool:
    """Whether a lease had ended when another one on the same token was granted: reported, stored, or run out."""
    if any(note.result is not False and note.began <= newer.granted for note in facts.notes.get(lease.holder, ())):
        return True
    if any(
        write.over == lease.revision and write.result is not False and write.began <= newer.granted
        for write in facts.writes[lease.user]
    ):
        return True
    ends = lease.began + facts.skews.get(lease.worker, 0.0) + LEASE
    return newer.granted + facts.skews.get(newer.worker, 0.0) >= ends - facts.noise


def _as_spare(facts: Facts, trip: Trip, lease: Lease, later: Trip, newer: Lease) -> bool:
    # another holder may have put the row in doubt before the late pair came
    doubted = lease.spare == trip.token or any(
        one.doubt for one in facts.leases.values() if one.revision == lease.revision
    )
    if newer.spare != later.token or not doubted:
        return False
    mine = facts.presented.get(("refresh_token", newer.token), ())
    refused = any(
        seen["outcome"] == "refused" and (other := facts.trip_of(seen)) and other.holder == newer.holder
        for seen in mine
    )
    return refused or newer.doubt  # in doubt, the look-up may have said so without a presentation


def _dropped(facts: Facts, trip: Trip, lease: Lease, newer: Lease) -> bool:
    """Whether a holder that had the whole answer in time ended its lease as if it had none."""
    if trip.answer is None or not trip.issued or trip.answer > lease.began + EXCHANGE - facts.noise:
        return False
    if facts.death(trip.worker) <= newer.granted or facts.stopped(trip.worker, trip.answer, newer.granted):
        return False
    return any(note.result and note.began <= newer.granted for note in facts.notes.get(lease.holder, ()))


def _codes(facts: Facts, seen: list[Record]) -> Iterator[Violation]:
    for place, one in enumerate(seen[:-1]):
        trip = facts.trip_of(one)
        if one["outcome"] != "issued" or trip is None or not trip.issued or trip.answer is None:
            continue
        if trip.answer > trip.asked + EXCHANGE - facts.noise:
            continue  # its reader may have given it up
        again = facts.trip_of(seen[place + 1])
        held = again is not None and facts.stopped(trip.worker, trip.asked, again.asked)
        if facts.death(trip.worker) == float("inf") and not held:
            yield Violation(
                1, one["user"], f"code {one['fingerprint']} exchanged again after a whole answer", one["at"]
            )
