"""Invariant 2: who was lost, and whether any client could have helped it."""

from collections.abc import Iterator

from tests.chaos.facts import FOREVER, Facts, Lease, Trip
from tests.chaos.findings import Loss, Violation
from tests.chaos.journal import Record
from tests.chaos.options import EXCHANGE, LEASE

_ALLOWED = {
    "strict": {"killed", "cut", "late", "reconnected"},
    "lenient": set[str](),
    "family": {"killed", "cut", "late", "reconnected", "stopped"},
}


_GIVEN_UP = {"CancelledError", "ReadTimeout"}  # by the reader itself


def losses(facts: Facts) -> list[Loss]:
    """Return everybody whose grant was given up, or whose stored token is dead at the end."""
    found: dict[tuple[str, str], Loss] = {}
    for user, writes in facts.writes.items():
        for write in writes:
            if write.kind == "note" and write.mark and write.result and not _cleared(facts, user, write.revision):
                if facts.history.rows is None and write.began > facts.end - 2 * LEASE:
                    continue  # a late pair may clear it still
                lease = facts.leases.get(write.holder)
                token = lease.token if lease else ""
                found[user, write.revision] = _loss(facts, user, token, write.began)
    for user, row in (facts.history.rows or {}).items():
        if row is None or (user, row["rev"]) in found:
            continue
        entry = facts.pairs.get(row["fp"])
        if row["mark"] or entry is None or entry["state"] != "alive":
            found[user, row["rev"]] = _loss(facts, user, row["fp"], facts.end)
    return sorted(found.values(), key=lambda loss: loss.at)


def violations(found: list[Loss]) -> Iterator[Violation]:
    """Every loss without an excuse is one."""
    for loss in found:
        if not loss.cause:
            yield Violation(2, loss.user, f"lost, and need not be: {loss.how}", loss.at)


def _cleared(facts: Facts, user: str, revision: str) -> bool:
    """Whether the marked pair was replaced after all: a mark is only ever written on a pair that is still there."""
    return any(write.kind == "commit" and write.over == revision and write.result for write in facts.writes[user])


def _loss(facts: Facts, user: str, token: str, at: float) -> Loss:
    kind, how = _why(facts, token)
    if kind == "stopped" and _reconnected(facts, user, token, at):
        kind, how = "reconnected", f"{how}; asked to connect again meanwhile, and did before its late pair came"
    return Loss(user, how if kind in _ALLOWED[facts.history.rotation] else "", at, how)


def _reconnected(facts: Facts, user: str, token: str, at: float) -> bool:
    """Whether a user who was given up while the holder was stopped had connected anew when it went on.

    Nobody can know whether a stopped process will go on. Its late pair clears the mark, unless the user was faster.
    """
    for seen in facts.presented.get(("refresh_token", token), ()):
        trip = facts.trip_of(seen)
        if trip is None or not trip.issued:
            continue
        stop = next((one for one in facts.stops.get(trip.worker, ()) if one[0] <= at <= one[1]), None)
        tries = [write for write in facts.commits.get(trip.issued, ()) if write.worker == trip.worker]
        last = max((min(write.ended, facts.end) for write in tries), default=stop[1] if stop else 0.0)
        if stop is not None and any(
            one.kind == "put" and at < one.began <= last + facts.noise for one in facts.writes[user]
        ):
            return True
    return False


def _why(facts: Facts, token: str) -> tuple[str, str]:
    """Return what became of the answer that would have saved the user, and say so."""
    entry = facts.pairs.get(token)
    if entry is None:
        return "", f"amoCRM never issued the stored token {token}"
    if facts.history.rotation != "family":
        return _fate_of_first(facts, token)
    told = ("", f"token {token} is {entry['state']}, and nothing was presented again")
    for suspect in dict.fromkeys((token, *_reused(facts, entry))):
        for seen in facts.presented.get(("refresh_token", suspect), ()):
            fate = _fate(facts, seen)
            if fate[0] in _ALLOWED["family"]:
                return fate
            told = fate
    return told


def _reused(facts: Facts, entry: Record) -> list[str]:
    """The tokens of the same grant whose reuse ended it."""
    family = {one["fingerprint"] for one in facts.history.ledger if one["grant"] == entry["grant"]}
    refused = [
        one for one in facts.history.presentations if one["fingerprint"] in family and one["outcome"] == "refused"
    ]
    return [one["fingerprint"] for one in refused]


def _fate_of_first(facts: Facts, token: str) -> tuple[str, str]:
    seen = facts.presented.get(("refresh_token", token), ())
    spent = next((one for one in seen if one["outcome"] == "issued"), None)
    if spent is None:
        return "", f"token {token} was never spent"
    return _fate(facts, spent)


def _fate(facts: Facts, seen: Record) -> tuple[str, str]:
    """Return what became of the answer to one presentation: a kind, and the story."""
    trip = facts.trip_of(seen)
    lease = facts.leases.get(trip.holder) if trip else None
    if trip is None or lease is None:
        return "", f"token {seen['fingerprint']} was presented without a lease"
    if seen["outcome"] == "issued" and facts.stored(seen["issued"]):
        stopped = _stopped(facts, lease, seen)
        return stopped or ("stored", f"{trip.worker} had the answer and stored its pair")
    who, begun = trip.worker, seen["at"]
    death = facts.death(who)
    unsaved = any(write.result is None for write in facts.commits.get(seen["issued"], ()) if write.worker == who)
    reported = any(note.result and note.ended < death for note in facts.notes.get(lease.holder, ()))
    in_time = death <= lease.began + LEASE + facts.stopped(who, lease.began, death) if death < FOREVER else False
    if trip.asked <= death and not reported and (in_time or (death < FOREVER and unsaved)):
        at = facts.killed_at(who, seen["user"])
        where = f" at '{at}'" if at else ""
        return (
            "killed",
            f"{who} was killed{where} {max(death - begun, 0.0):.1f} s after it presented the token; nothing was stored",
        )
    if trip.answer is None or not trip.issued:
        return _unanswered(facts, seen, trip, lease)
    if _is_late(facts, seen, lease) or _waited(facts, trip, lease, trip.answer) > EXCHANGE - facts.noise:
        return (
            "late",
            f"the answer came to {who} {trip.answer - lease.began:.1f} s after its lease began: over its budget",
        )
    return _stopped(facts, lease, seen) or ("answered", f"{who} had the whole answer and did not store its pair")


def _unanswered(facts: Facts, seen: Record, trip: Trip, lease: Lease) -> tuple[str, str]:
    who = lease.worker
    if trip.broken is None and trip.answer is not None:
        return "cut", f"amoCRM's answer to {who} was cut off"
    if not seen["answered"] and trip.broken is not None and trip.error not in _GIVEN_UP:
        return "cut", f"amoCRM's answer to {who} was cut off ({trip.error})"
    until = facts.end if trip.broken is None else trip.broken
    waited = _waited(facts, trip, lease, until)
    if trip.error == "CancelledError" and until < lease.began + EXCHANGE - facts.noise:
        return "cancelled", f"the request of {who} was cancelled {until - seen['at']:.1f} s after it came in"
    if _is_late(facts, seen, lease) or waited > EXCHANGE - facts.noise:
        return "late", f"no answer reached {who} within its budget"
    if trip.error in _GIVEN_UP and waited < until - lease.began:
        return "paused", f"{who} was stopped while it waited for the answer, which it then did not take ({trip.error})"
    return "cut", f"amoCRM's answer to {who} was cut off ({trip.error})"


def _is_late(facts: Facts, seen: Record, lease: Lease) -> bool:
    """Whether amoCRM itself answered after the exchange budget, or not at all."""
    return seen["answered_at"] is None or seen["answered_at"] > lease.began + EXCHANGE - facts.noise


def _waited(facts: Facts, trip: Trip, lease: Lease, until: float) -> float:
    """Return for how long an answer was waited for, without the time in which the process was stopped."""
    return until - lease.began - facts.stopped(trip.worker, lease.began, until)


def _stopped(facts: Facts, lease: Lease, seen: Record) -> tuple[str, str] | None:
    """Return whether the holder was stopped past its lease, before it could report."""
    reports = [note.began for note in facts.notes.get(lease.holder, ()) if note.result]
    reports += [write.ended for write in facts.commits.get(seen["issued"], ()) if write.result]
    reported = min(reports, default=FOREVER)
    for a, b in facts.stops.get(lease.worker, ()):
        if lease.began <= a <= reported and b >= lease.began + LEASE:
            how = f"{lease.worker} was stopped for {b - a:.0f} s, past the end of its lease"
            return "stopped", f"{how} (presented {a - seen['at']:.1f} s before)"
    return None
