"""What happened to one user around a violation, as lines to read."""

from tests.chaos.facts import History
from tests.chaos.findings import Violation
from tests.chaos.journal import Record

_BEFORE, _AFTER, _LINES = 320.0, 60.0, 60
_DULL = {"call", "used"}
_PROCESSES = {"born", "killed", "died", "stopped", "continued", "point"}


def story(history: History, violation: Violation, begins: float) -> list[str]:
    """Return the journals' lines about the user, with what happened to the processes meanwhile."""
    numbers = {record["id"] for record in history.records if record.get("u") == violation.user and "id" in record}
    near = [
        record
        for record in history.records
        if violation.at - _BEFORE < record["t"] < violation.at + _AFTER
        and (_is_of(record, violation.user, numbers) or record["k"] in _PROCESSES)
    ]
    return [_line(record, begins) for record in near[-_LINES:]]


def _is_of(record: Record, user: str, numbers: set[str]) -> bool:
    if record["k"] in _DULL or (record.get("op") == "status"):
        return False
    return record.get("u") == user or record.get("id") in numbers


def _line(record: Record, begins: float) -> str:
    kept = {
        name: value
        for name, value in record.items()
        if name not in {"t", "w", "k", "u", "amo"} and value not in {"", None}
    }
    told = " ".join(f"{name}={_short(name, value, begins)}" for name, value in kept.items())
    return f"{record['t'] - begins:8.2f} {record['w']:5} {record['k']:10} {record.get('u', ''):5} {told}"


def _short(name: str, value: object, begins: float) -> str:
    if name == "began" and isinstance(value, float):
        return f"{value - begins:.2f}"
    return str(value)[:8] if name in {"holder", "rev", "over"} else str(value)
