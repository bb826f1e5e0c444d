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
STORE_FAILS = dict.fromkeys(("get", "commit", "take_lease", "note_failure"), ("fail", "fail*"))
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
PASSES = (PAST_LEASE,)
ALL = tuple(READINGS)

SCENARIOS = [
    # who shares a refresh
    Scenario("three callers", THREE, Rules()),
    Scenario("three callers who do not wait long", THREE, Rules(wait_budget=0.05)),
    Scenario("a refresh and two callers", "A refresh, B token, C token", Rules()),
    Scenario("a rejected token, a refresh and a caller", "A rejected, B refresh, C token", Rules(row="valid")),
    Scenario("two callers in one process, one in another", "A token, A token, B token", Rules()),
    # a holder that is stopped past its lease
    Scenario("two callers, and time passes", TWO, Rules(jumps=PASSES), ALL),
    Scenario("a rejected token, a caller, and time passes", "A rejected, B token", Rules(row="valid", jumps=PASSES)),
    Scenario("three callers, and time passes", THREE, Rules(jumps=PASSES), ALL, long=True),
    Scenario("two callers, and time passes twice", TWO, Rules(jumps=PASSES * 2), ALL, long=True),
    # a holder that dies
    Scenario("three callers, and one crashes", THREE, Rules(crashes=("A",)), ALL),
    Scenario("two callers, one crashes, and time passes", TWO, Rules(jumps=PASSES, crashes=("A",))),
    Scenario("three callers, one crashes, and time passes", THREE, Rules(jumps=PASSES, crashes=("A",)), ALL, long=True),
    # amoCRM
    Scenario("three callers, and amoCRM fails once", THREE, Rules(faults=AMOCRM_FAILS), ALL),
    Scenario("two callers, and amoCRM fails twice", TWO, Rules(faults=AMOCRM_FAILS, fault_budget=2), ALL),
    Scenario("two callers, an answer is lost, and time passes", TWO, Rules(faults=LOST, jumps=PASSES)),
    Scenario(
        "two callers, amoCRM fails, and time passes", TWO, Rules(faults=AMOCRM_FAILS, jumps=PASSES), ALL, long=True
    ),
    Scenario("ahead of time, amoCRM fails once", THREE, Rules(row="due", faults=AMOCRM_FAILS)),
    Scenario("a moved account, and one crashes", TWO, Rules(lookup=True, moved=True, crashes=("A",))),
    Scenario("a moved account, and amoCRM fails once", TWO, Rules(lookup=True, moved=True, faults=AMOCRM_FAILS)),
    Scenario("a moved account, and time passes", TWO, Rules(lookup=True, moved=True, jumps=PASSES), long=True),
    Scenario("an answer is lost where there is a look-up", TWO, Rules(lookup=True, faults=LOST)),
    Scenario("a crash and a lost answer with a look-up", TWO, Rules(lookup=True, faults=LOST, crashes=("A",))),
    Scenario("time passes where there is a look-up", TWO, Rules(lookup=True, jumps=PASSES), ALL, long=True),
    # the store
    Scenario("two callers, and the store fails once", TWO, Rules(faults=STORE_FAILS)),
    Scenario("two callers, and the store fails twice", TWO, Rules(faults=STORE_FAILS, fault_budget=2)),
    Scenario("two callers, a commit fails, and time passes", TWO, Rules(faults=COMMIT_FAILS, jumps=PASSES)),
    Scenario(
        "a commit fails for long, and time passes",
        TWO,
        Rules(faults=COMMIT_FAILS, fault_budget=2, jumps=PASSES),
        ALL,
        long=True,
    ),
    Scenario(
        "a commit fails for long, and one crashes", TWO, Rules(faults=COMMIT_FAILS, fault_budget=2, crashes=("A",))
    ),
    # leaving
    Scenario("two callers and a disconnect", "A token, B token, C disconnect", Rules()),
    Scenario("a caller, a disconnect, and time passes", "A token, C disconnect", Rules(jumps=PASSES)),
    Scenario(
        "a caller, a disconnect, and a commit fails",
        "A token, C disconnect",
        Rules(faults=COMMIT_FAILS, fault_budget=2),
    ),
    Scenario(
        "two callers, a disconnect, and time passes",
        "A token, B token, C disconnect",
        Rules(jumps=PASSES),
        ALL,
        long=True,
    ),
    Scenario(
        "a caller and a disconnect in one process, a commit fails",
        "A token, A disconnect",
        Rules(faults=COMMIT_FAILS, fault_budget=2),
    ),
    Scenario(
        "the same, and a caller elsewhere", "A token, A disconnect, B token", Rules(faults=COMMIT_FAILS), long=True
    ),
    Scenario("a cancelled disconnect, and two callers", "A disconnect, B token, C token", Rules(cancels=("A",))),
    Scenario("a disconnect that crashes, and two callers", "A disconnect, B token, C token", Rules(crashes=("A",))),
    # connecting
    Scenario("two callers and a reconnect", "A token, B token, C connect 1", Rules()),
    Scenario("a caller, a reconnect, and time passes", "A token, C connect 1", Rules(jumps=PASSES)),
    Scenario("a caller, a disconnect and a reconnect", "A token, B disconnect, C connect 1", Rules()),
    Scenario(
        "a first connect that cannot be saved, and a disconnect",
        "A connect 1, B disconnect",
        Rules(row="none", faults=PUT_FAILS, fault_budget=2),
    ),
    Scenario(
        "a reconnect that cannot be saved, and a disconnect",
        "A connect 1, B disconnect",
        Rules(faults=PUT_FAILS, fault_budget=2),
    ),
    Scenario(
        "a reconnect that cannot be saved, and a caller",
        "A connect 1, B token",
        Rules(faults=PUT_FAILS, fault_budget=2),
    ),
    Scenario("a connect and amoCRM fails", "A connect 1, B token", Rules(faults=AMOCRM_FAILS)),
    Scenario("a reconnect that crashes, and a caller", "A connect 1, B token", Rules(crashes=("A",))),
    Scenario(
        "a reconnect that crashes, and two callers", "A connect 1, B token, C token", Rules(crashes=("A",)), long=True
    ),
    Scenario("a cancelled connect, and a caller", "A connect 1, B token", Rules(cancels=("A",))),
    Scenario("two connects with one code", "A connect 1, B connect 1, C token", Rules(row="none")),
    Scenario(
        "two connects with one code, and one crashes", "A connect 1, B connect 1", Rules(row="none", crashes=("A",))
    ),
    Scenario("two connects with two codes", "A connect 1, B connect 2", Rules(row="none")),
    Scenario("two reconnects with two codes, and a caller", "A connect 1, B connect 2, C token", Rules(), long=True),
    # a caller who goes away
    Scenario("a caller who is cancelled, and two others", THREE, Rules(cancels=("A",))),
    Scenario("a cancelled refresh in a process with another caller", "A refresh, A token", Rules(cancels=("A",))),
]


def runs(*, long: bool) -> Iterator[tuple[Scenario, str]]:
    """Every scenario in every reading."""
    for scenario in SCENARIOS:
        if long or not scenario.long:
            for reading in scenario.readings:
                yield scenario, reading
