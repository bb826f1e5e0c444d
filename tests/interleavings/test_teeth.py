"""The proof can fail: each planted bug is found, and its schedule shows it again."""

from functools import partial

import pytest

from tests.interleavings.bugs import BUGS, Bug
from tests.interleavings.explorer import explore, replay
from tests.interleavings.scenarios import SCENARIOS
from tests.interleavings.world import World


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    """In the scenario that is made for it, for the reason that is expected."""
    scenario = next(one for one in SCENARIOS if one.name == bug.scenario)
    make = partial(World, scenario.rules_in(bug.reading), scenario.cast(), store=bug.store, rig=bug.rig)
    found = explore(make).found
    assert found is not None
    assert bug.why in found.why
    said: list[str] = []
    assert replay(make, found.schedule, said.append) == found.why
    assert len(said) == len(found.schedule)
