"""Invariant 3: no disconnected user comes back, no reconnect is overwritten, nobody gets another's token.

The journals show each change of a row with its beginning and end. A change that began after another one had ended came
later; more is not assumed. A change whose outcome is unknown may have been made or not.
"""

from collections.abc import Iterator

from tests.chaos.facts import Facts, Write
from tests.chaos.findings import Violation
from tests.chaos.journal import Record

_LOST = {
    "delete": "a disconnected user came back",
    "put": "a reconnect was overwritten",
    "commit": "a newer pair was overwritten",
}


def violations(facts: Facts) -> Iterator[Violation]:
    """Compare every change of every row with those before it, and the rows at the end with all of them."""
    for user, writes in facts.writes.items():
        changes = [write for write in writes if write.kind != "note"]
        for write in changes:
            if write.kind == "commit" and write.result:
                yield from _commit(changes, write)
            if write.kind == "put" and write.result:
                yield from _late_put(facts, changes, write)
        if facts.history.rows is not None:
            yield from _final(facts, user, changes, facts.history.rows.get(user))
    yield from _anothers(facts)


def _makers(changes: list[Write], revision: str) -> list[Write]:
    return [
        one for one in changes if one.kind in {"put", "commit"} and one.revision == revision and one.result is not False
    ]


def _commit(changes: list[Write], write: Write) -> Iterator[Violation]:
    makers = [one for one in _makers(changes, write.over) if one.began <= write.ended]
    if not makers:
        yield Violation(3, write.user, f"{write.worker} wrote over a pair that was never there", write.began)
        return
    again = _makers(changes, write.revision)[0]  # a write that is repeated was made at its first try, or later
    made = max(one.ended for one in makers)
    for other in changes:
        replaced = other.result and other.kind != "note" and other.revision != write.revision
        if replaced and not _is_of(other, write.over) and made < other.began and other.ended < again.began:
            yield Violation(3, write.user, f"{_LOST[other.kind]}: by {write.worker}'s late pair", write.began)
            return


def _is_of(write: Write, revision: str) -> bool:
    return write.kind != "delete" and write.revision == revision


def _late_put(facts: Facts, changes: list[Write], write: Write) -> Iterator[Violation]:
    """A connection that could not be saved must not come back after a disconnect that came after it had ended."""
    tries = [one for one in changes if one.kind == "put" and one.revision == write.revision and one.began < write.began]
    if not tries:
        return
    calls = [call for call in facts.calls if call.op == "connect" and call.user == write.user]
    if any(call.began <= tries[0].began and call.ended >= write.began for call in calls):
        return
    for other in changes:
        if (
            other.kind == "delete"
            and other.result is not None
            and tries[-1].ended < other.began
            and other.ended < write.began
        ):
            ended = [call.ended for call in calls if call.began <= tries[0].began <= call.ended]
            if ended and max(ended) < other.began:
                yield Violation(3, write.user, f"a disconnected user came back: {write.worker} saved late", write.began)
                return


def _final(facts: Facts, user: str, changes: list[Write], row: Record | None) -> Iterator[Violation]:
    if row is None:
        puts = [one for one in changes if one.kind == "put" and one.result]
        last = max((one.began for one in puts), default=None)
        if last is not None and not any(
            one.kind == "delete" and one.result is not False and one.ended > last for one in changes
        ):
            yield Violation(3, user, "the row is gone, and nobody deleted it", facts.end)
        return
    makers = _makers(changes, row["rev"])
    if not makers:
        yield Violation(3, user, f"the row holds a pair {row['fp']} that nobody wrote", facts.end)
        return
    made = max(one.ended for one in makers)
    for other in changes:
        if other.result and other.revision != row["rev"] and other.began > made:
            yield Violation(3, user, f"{_LOST[other.kind]}: the row at the end holds an older pair", facts.end)
            return


def _anothers(facts: Facts) -> Iterator[Violation]:
    for write in (one for writes in facts.writes.values() for one in writes):
        entry = facts.pairs.get(write.token)
        if entry is not None and entry["user"] != write.user:
            yield Violation(3, write.user, f"the pair of {entry['user']} was written", write.began)
    for call in facts.calls:
        entry = facts.access.get(call.token)
        if entry is not None and entry["user"] != call.user:
            yield Violation(3, call.user, f"got the token of {entry['user']}", call.ended)
