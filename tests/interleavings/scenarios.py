"""What is explored: who calls what, and what may go wrong meanwhile."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.interleavings.world import LEASE, Actor, Rules

READINGS = {
    "strict": {"rotation": "strict"},
    "lenient": {"rotation": "lenient"},
    "lenient-access": {"rotation": "lenient", "lenient_until": "access"},
    "family": {"rotation": "family"},
}
PAST_LEASE = LEASE + 1
AMOCRM_FAILS = {"send": ("lost", "503", "503*", "429", "unconnected")}
LOST = {"send": ("lost",)}
WRITES_FAIL = {name: ("fail", "fail*") for name in ("commit", "take_lease", "note_failure")}
COMMIT_FAILS = {"commit": ("fail", "fail*")}
PUT_FAILS = {"put": ("fail", "fail*")}


@dataclass(frozen=True, slots=True)
class Scenario:
    """``actors``: ``A token, B token``. ``readings``: in which readings it is run; ``long``: only in the long run."""

    name: str
    actors: str
    rules: Rules
    readings: tuple[str, ...] = ("strict", "lenient", "family")
    long: bool = False

    def cast(self) -> tuple[Actor, ...]:
        """The actors: process and kind of call."""
        return tuple(Actor(*part.strip().split(" ", 1)) for part in self.actors.split(","))

    def rules_in(self, reading: str) -> Rules:
        """The rules in one reading of amoCRM's rotation."""
        return replace(self.rules, **READINGS[reading])


TWO, THREE = "A token, B token", "A token, B token, C token"

SCENARIOS = [
    Scenario("three callers", THREE, Rules()),
    Scenario("three callers who do not wait long", THREE, Rules(wait_budget=0.05)),
    Scenario("two callers, and time passes", TWO, Rules(jumps=(PAST_LEASE,)), ("strict", "lenient", "lenient-access", "family")),
    Scenario("three callers, and one crashes", THREE, Rules(crashes=("A",))),
    Scenario("two callers, one crashes, and time passes", TWO, Rules(jumps=(PAST_LEASE,), crashes=("A",))),
    Scenario("two callers, and amoCRM fails once", TWO, Rules(faults=AMOCRM_FAILS)),
    Scenario("two callers, amoCRM fails once, and time passes", TWO, Rules(faults=AMOCRM_FAILS, jumps=(PAST_LEASE,))),
    Scenario("two callers, and the store fails once", TWO, Rules(faults=WRITES_FAIL)),
    Scenario("two callers, a commit fails, and time passes", TWO, Rules(faults=COMMIT_FAILS, jumps=(PAST_LEASE,))),
    Scenario("two callers and a disconnect", "A token, B token, C disconnect", Rules()),
    Scenario("two callers, a disconnect, and time passes", "A token, B token, C disconnect", Rules(jumps=(PAST_LEASE,))),
    Scenario("two callers and a reconnect", "A token, B token, C connect", Rules()),
    Scenario("a caller, a reconnect, and time passes", "A token, C connect", Rules(jumps=(PAST_LEASE,))),
    Scenario("a caller, a disconnect and a reconnect", "A token, B disconnect, C connect", Rules()),
    Scenario("a first connect that cannot be saved, and a disconnect", "A connect, B disconnect, C token", Rules(row="none", faults=PUT_FAILS)),
    Scenario("a reconnect that crashes, and two callers", "A connect, B token, C token", Rules(crashes=("A",))),
    Scenario("two connects with one code", "A connect, B connect, C token", Rules(row="none")),
    Scenario("two connects with two codes", "A connect, B connect again, C token", Rules()),
    Scenario("a caller who is cancelled, and two others", THREE, Rules(cancels=("A",))),
    Scenario("a cancelled disconnect, and two callers", "A disconnect, B token, C token", Rules(cancels=("A",))),
    Scenario("a cancelled connect, and a caller", "A connect, B token", Rules(cancels=("A",))),
    Scenario("a rejected token, a refresh and a caller", "A rejected, B refresh, C token", Rules(row="valid")),
    Scenario("a refresh and two callers", "A refresh, B token, C token", Rules()),
    Scenario("ahead of time, amoCRM fails once", THREE, Rules(row="due", faults=LOST)),
    Scenario("a moved account", TWO, Rules(lookup=True, moved=True)),
    Scenario("an answer is lost where there is a look-up", TWO, Rules(lookup=True, faults=LOST)),
    Scenario("two callers in one process, one in another", "A token, A token, B token", Rules()),
    Scenario("a caller and a disconnect in one process, a commit fails", "A token, A disconnect, B token", Rules(faults=COMMIT_FAILS)),
]


def runs(*, long: bool) -> Iterator[tuple[Scenario, str]]:
    """Every scenario in every reading."""
    for scenario in SCENARIOS:
        if long or not scenario.long:
            for reading in scenario.readings:
                yield scenario, reading
