"""The verdict on a run: pure, over its journals and amoCRM's own books."""

from collections import Counter

from tests.chaos import callers, growth, lives, losses, spends
from tests.chaos.facts import Facts, History
from tests.chaos.findings import Audit

__all__ = ["Audit", "History", "audited"]


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
    return Audit(
        violations=sorted(found, key=lambda violation: (violation.rule, violation.at)),
        losses=lost,
        counts=_counts(facts),
        figures=callers.durations(facts),
        held=growth.held(facts),
        begins=facts.others["begins"][0]["t"] if facts.others["begins"] else 0.0,
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
                "processes born": len(facts.others["born"]),
            }
        ),
    }
