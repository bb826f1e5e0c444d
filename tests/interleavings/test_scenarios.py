"""No order of steps breaks an invariant."""

import sys
from functools import partial

import pytest

from tests.interleavings.__main__ import line, told
from tests.interleavings.explorer import explore
from tests.interleavings.scenarios import Scenario, runs
from tests.interleavings.world import World


@pytest.mark.parametrize(
    ("scenario", "reading"),
    [
        pytest.param(
            scenario, reading, id=f"{scenario.name}-{reading}", marks=pytest.mark.long if scenario.long else ()
        )
        for scenario, reading in runs(long=True)
    ],
)
def test_every_order(scenario: Scenario, reading: str) -> None:
    """All schedules are explored, there are some, and each keeps the invariants."""
    result = explore(partial(World, scenario.rules_in(reading), scenario.cast()))
    sys.stdout.write(f"{line(scenario, reading, result)}\n")
    assert result.found is None, told(scenario, reading, result)
    assert result.complete
    assert result.schedules > 1


def test_only_a_lost_answer_or_an_overrun_lease_loses_a_user() -> None:
    """Some schedules do lose a user: the readings differ in which, as they should."""
    lost = {}
    for scenario, reading in runs(long=False):
        if scenario.name in {"three callers", "two callers, and time passes", "three callers, and one crashes"}:
            result = explore(partial(World, scenario.rules_in(reading), scenario.cast()))
            lost[scenario.name, reading] = result.lost > 0
    assert lost == {
        ("three callers", "strict"): False,
        ("three callers", "lenient"): False,
        ("three callers", "family"): False,
        # whoever is stopped past its lease gives up a request that is on its way, and the answer is lost
        ("two callers, and time passes", "strict"): True,
        ("two callers, and time passes", "lenient"): False,
        ("two callers, and time passes", "lenient-access"): False,
        ("two callers, and time passes", "family"): True,
        ("three callers, and one crashes", "strict"): True,
        ("three callers, and one crashes", "lenient"): False,
        ("three callers, and one crashes", "lenient-access"): False,
        ("three callers, and one crashes", "family"): True,
    }
