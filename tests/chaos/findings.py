"""What an audit finds."""

from collections import Counter
from dataclasses import dataclass, field

NAMES = {
    1: "one spend",
    2: "nobody is lost",
    3: "no one comes back, nothing is overwritten, nobody gets another's token",
    4: "a valid token or an error of §7, in time",
    5: "nothing grows",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One breach of an invariant. ``at`` is amoCRM's time."""

    rule: int
    user: str
    text: str
    at: float = 0.0

    def __str__(self) -> str:
        """Name the invariant."""
        return f"invariant {self.rule} ({NAMES[self.rule]}): {self.user or '-'}: {self.text}"


@dataclass(frozen=True, slots=True)
class Loss:
    """A user whom amoCRM refuses for good, and why no client could have helped it; no ``cause``: one could have."""

    user: str
    cause: str
    at: float
    how: str = ""


@dataclass(slots=True)
class Audit:
    """The verdict on one run."""

    violations: list[Violation] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    held: dict[str, tuple[dict[str, float], dict[str, float]]] = field(default_factory=dict)
    stories: dict[str, list[str]] = field(default_factory=dict)
    begins: float = 0.0

    @property
    def rules(self) -> set[int]:
        """The invariants that were broken."""
        return {violation.rule for violation in self.violations}

    def line(self, seconds: float, speed: float) -> str:
        """One line on how it stands."""
        calls = sum(self.counts["calls"].values())
        spent = sum(self.counts["presentations"].values())
        verdict = f"{len(self.violations)} VIOLATIONS" if self.violations else "invariants hold"
        return f"{seconds / speed:6.0f} s: {calls} calls, {spent} token requests, {len(self.losses)} lost; {verdict}"
