"""Invariant 4: every caller gets a valid token or an error of §7 within its budget; nothing hangs."""

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.facts import FOREVER, Call, Facts
from tests.chaos.findings import Violation
from tests.chaos.options import WAIT

# nothing in a run gives reason for these: the settings are right, and everybody goes to their own account
_MISPLACED = {
    "error", "configuration_error", "untrusted_host", "wrong_account", "already_connected_by_another", "access_denied",
}  # fmt: skip
_WAITING = {"access_token", "rejected", "refresh", "connect"}
STORE = 8.0
"""Real seconds that a caller's own steps in the database may take: what waits for a lock, and the machine's noise."""
_AHEAD = 1.0


def violations(facts: Facts) -> Iterator[Violation]:
    """Look at every call, and at every process."""
    for call in facts.calls:
        if call.ended == FOREVER:
            yield from _unended(facts, call)
            continue
        if call.out.startswith("!") or call.out in _MISPLACED:
            yield Violation(4, call.user, f"{call.op} raised {call.out} {call.why}", call.ended)
        budget = budget_of(call.op, facts.speed)
        if (took := lasted(facts, call)) > budget:
            yield Violation(4, call.user, f"{call.op} took {took:.1f} s of {budget:.0f} in {call.worker}", call.ended)
        if call.token:
            yield from _token(facts, call)
        if call.out == "not_connected" and call.op != "refresh_due":
            yield from _not_connected(facts, call)
    for record in facts.others["crashed"]:
        yield Violation(
            4, "", f"{record['on']} ended with status {record['status']}: {record.get('text', '')}", record["t"]
        )
    for record in facts.others["hangs"]:
        yield Violation(4, "", f"{record['on']} hangs (waited for: {record['at']})", record["t"])
    for record in facts.others["unsettled"]:
        yield Violation(4, record["u"], f"gets no answer that stays in {record['w']}: {record['out']}", record["t"])


def budget_of(op: str, speed: float) -> float:
    """Return what a call may take, in the service's seconds."""
    if op == "refresh_due":
        return FOREVER
    return (WAIT if op in _WAITING else 0.0) + STORE * speed


def lasted(facts: Facts, call: Call) -> float:
    """Return how long a call took, without the time in which its process was stopped."""
    return call.ended - call.began - facts.stopped(call.worker, call.began, call.ended)


def durations(facts: Facts) -> dict[str, dict[str, float]]:
    """Return percentiles by operation, in the service's seconds."""
    taken: dict[str, list[float]] = defaultdict(list)
    for call in facts.calls:
        if call.ended != FOREVER:
            taken[call.op].append(lasted(facts, call))
    return {op: _figures(sorted(times)) | {"budget": budget_of(op, facts.speed)} for op, times in sorted(taken.items())}


def _figures(times: list[float]) -> dict[str, float]:
    def part(share: float) -> float:
        return times[min(int(len(times) * share), len(times) - 1)]

    return {"calls": len(times), "p50": part(0.5), "p95": part(0.95), "p99": part(0.99), "max": times[-1]}


def stale(facts: Facts) -> int:
    """Count the tokens that had run out when they were handed out, by a clock that was behind."""
    return sum(1 for call in facts.calls if call.token and 0 < _overdue(facts, call) <= -_behind(facts, call))


def _unended(facts: Facts, call: Call) -> Iterator[Violation]:
    if facts.history.rows is not None and facts.death(call.worker) == FOREVER:
        yield Violation(4, call.user, f"{call.op} in {call.worker} never ended", call.began)


def _overdue(facts: Facts, call: Call) -> float:
    entry = facts.access.get(call.token)
    if entry is None:
        return 0.0
    return call.ended - facts.stopped(call.worker, call.began, call.ended) - entry["expires_at"] - _AHEAD - facts.noise


def _behind(facts: Facts, call: Call) -> float:
    return min(facts.skews.get(call.worker, 0.0), 0.0)


def _token(facts: Facts, call: Call) -> Iterator[Violation]:
    if call.token not in facts.access and call.ended < facts.history.books_at:
        yield Violation(4, call.user, "got a token that amoCRM never issued", call.ended)
    elif _overdue(facts, call) > -_behind(facts, call):
        yield Violation(4, call.user, f"got a token that had run out {_overdue(facts, call):.1f} s before", call.ended)


def _not_connected(facts: Facts, call: Call) -> Iterator[Violation]:
    changes = facts.writes.get(call.user, ())
    put = max(
        (one.ended for one in changes if one.kind == "put" and one.result and one.ended < call.began), default=None
    )
    if put is None:
        return
    if not any(
        one.kind == "delete" and one.result is not False and one.ended >= put and one.began <= call.ended
        for one in changes
    ):
        yield Violation(4, call.user, f"{call.op} said that the user is not connected", call.ended)
