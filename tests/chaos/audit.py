"""The verdict on a run: pure, over its journals and amoCRM's own books."""

from collections import Counter

from tests.chaos import callers, growth, lives, losses, spends
from tests.chaos.facts import Facts, History
from tests.chaos.findings import Audit
from tests.chaos.stories import story

__all__ = ["Audit", "History", "audited"]

_STORIES = 3


def audited(history: History) -> Audit:
    """Check every invariant. While a run goes on (no rows yet) it says what can be said so far."""
    facts = Facts(history)
    lost = losses.losses(facts)
    found = [
        *spends.violations(facts),
        *losses.violations(lost),
        *lives.violations(facts),
        *callers.violations(facts),
        *growth.violations(facts),
    ]
    found.sort(key=lambda violation: (violation.rule, violation.at))
    begins = facts.others["begins"][0]["t"] if facts.others["begins"] else 0.0
    return Audit(
        violations=found,
        losses=lost,
        counts=_counts(facts),
        figures=callers.durations(facts),
        held=growth.held(facts),
        stories={one.user: story(history, one, begins) for one in found[:_STORIES] if one.user},
        begins=begins,
    )


def _counts(facts: Facts) -> dict[str, Counter[str]]:
    return {
        "calls": Counter(f"{call.op}: {call.out or 'none, its process died'}" for call in facts.calls),
        "presentations": Counter(
            f"{seen['grant_type']}: {seen['outcome']}{'' if seen['answered'] else ', not answered'}"
            for seen in facts.history.presentations
        ),
        "faults": Counter(record["name"] for record in facts.others["fault"]),
        "faults for which there was no time": Counter(record["name"] for record in facts.others["skipped"]),
        "points hit": Counter(f"{record['do']} {record['point']}" for record in facts.points),
        "events": Counter(record["name"] for record in facts.others["event"]),
        "warnings": Counter(record["text"] for record in facts.others["warning"]),
        "also": Counter(
            {
                "rejected by the API": len(facts.others["rejected"]),
                "tokens used at the API": len(facts.others["used"]),
                "tokens that had run out by amoCRM's clock, not by the worker's": callers.stale(facts),
                "presentations of a spare": spends.spares(facts),
                "requests whose sender was stopped between its last look at the clock and the wire": sum(
                    spends.overtaken(facts, seen, facts.trip_of(seen)) for seen in facts.history.presentations
                ),
                "processes born": len(facts.others["born"]),
            }
        ),
    }
