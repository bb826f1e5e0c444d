"""What the search leaves out makes no difference, and what it says can be run again."""

import sys
from functools import partial

import pytest

from tests.interleavings import __main__ as command
from tests.interleavings.explorer import explore
from tests.interleavings.scenarios import (
    AMOCRM_FAILS,
    COMMIT_FAILS,
    LOST,
    PASSES,
    PUT_FAILS,
    Scenario,
)
from tests.interleavings.world import Rules, World

_SMALL = [
    Scenario("two callers", "A token, B token", Rules()),
    Scenario("a crash", "A token, B token", Rules(crashes=("A",))),
    Scenario("amoCRM fails", "A token, B token", Rules(rotation="lenient", faults=AMOCRM_FAILS)),
    Scenario("a cancellation", "A token, B refresh", Rules(cancels=("A",))),
    Scenario("a lost answer with a look-up", "A token, B token", Rules(lookup=True, faults=LOST, crashes=("A",))),
    Scenario("a disconnect, and time passes", "A token, B disconnect", Rules(jumps=PASSES)),
    Scenario("a disconnect in one process", "A token, A disconnect", Rules(faults=COMMIT_FAILS)),
    Scenario("two callers and a disconnect", "A token, B token, C disconnect", Rules()),
    Scenario("a reconnect", "A token, B connect 1", Rules()),
    Scenario("an unsaved connect", "A connect 1, B disconnect", Rules(row="none", faults=PUT_FAILS, fault_budget=2)),
]


@pytest.mark.parametrize("scenario", _SMALL, ids=lambda scenario: scenario.name)
def test_the_reduced_search_reaches_every_end(scenario: Scenario) -> None:
    """What is stored, what amoCRM knows and what each caller got at the end: the same as without any reduction."""
    make = partial(World, scenario.rules, scenario.cast())
    full = explore(make, reduce=False, keep_ends=True)
    reduced = explore(make, keep_ends=True)
    assert full.complete
    assert full.found is reduced.found is None
    assert reduced.ends == full.ends
    assert reduced.executions <= full.executions
    assert (reduced.lost > 0) == (full.lost > 0)


def test_the_same_search_twice_is_the_same() -> None:
    """Nothing in a world depends on chance or on the real time."""
    scenario = Scenario("two callers and a disconnect", "A token, B token, C disconnect", Rules())
    one, two = (explore(partial(World, scenario.rules, scenario.cast()), keep_ends=True) for _ in range(2))
    assert (one.executions, one.states, one.ends) == (two.executions, two.states, two.ends)


def test_a_search_stops_at_its_bound_and_says_so() -> None:
    """Then it is not complete, and the table shows the bound."""
    scenario = Scenario("two callers", "A token, B token", Rules(jumps=PASSES))
    result = explore(partial(World, scenario.rules, scenario.cast()), limit=5)
    assert (result.executions, result.complete) == (5, False)
    assert "bound: 5 executions" in command.line(scenario, "strict", result)


def test_a_violation_is_told_with_its_replay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed command runs the schedule again and finds the same."""
    bug = "a commit without compare-and-swap undoes a disconnect"
    monkeypatch.setattr(sys, "argv", ["interleavings", "--bug", bug, "--only", "two callers and a disconnect/strict"])
    assert command.main() == 1
    again = capsys.readouterr().out.partition("--replay '")[2].partition("'")[0]
    monkeypatch.setattr(sys, "argv", ["interleavings", "--bug", bug, "--replay", again])
    assert command.main() == 1
    assert "came back" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["interleavings", "--only", "two connects with two codes/strict"])
    assert command.main() == 0
    assert "1 explorations" in capsys.readouterr().out
