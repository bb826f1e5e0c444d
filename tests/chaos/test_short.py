"""Short runs with fixed seeds: every database, every reading of amoCRM's rotation; and each guard is missed.

A run is a minute of faults. ``AMOCRM_TEST_LONG=1`` makes longer ones: each database with each rotation.
"""

import sys

import pytest

from tests import services
from tests.chaos.findings import Audit
from tests.chaos.options import TEETH, Options
from tests.chaos.report import report
from tests.chaos.run import run

SHORT = [("sqlite", "family", 1), ("postgresql", "strict", 2), ("mariadb", "lenient", 3)]
LONG = [
    (database, rotation, "sqlalchemy")
    for database in ("sqlite", "postgresql", "mariadb")
    for rotation in ("strict", "lenient", "family")
] + [("sqlite", "strict", "django"), ("postgresql", "lenient", "django"), ("mariadb", "family", "django")]

# what makes the absence of each guard felt for certain, and the invariant that breaks without it
_FELT = {
    "lease": (1, {"faults": "slow"}),
    "swap": (3, {"faults": "slow", "leaving": 12.0}),
    "shield": (2, {"faults": "slow", "kinds": "async", "impatient": 60.0}),
    "fallback": (2, {"faults": "overtake", "rotation": "lenient", "leaving": 0.0, "minutes": 0.2}),
    "claim": (1, {"faults": "none"}),
    "doubt": (2, {"faults": "overtake", "rotation": "lenient", "leaving": 0.0, "minutes": 0.2}),
}
_SMALL = {"users": 12, "workers": 2, "lifetime": 40, "minutes": 0.16, "rate": 40.0, "every": 0.3, "look": 99.0}


def made(options: Options) -> Audit:
    """Make a run; its summary is printed, and shown if the test fails."""
    if options.database != "sqlite":
        _need(options.database)
    say = sys.stdout.writelines
    say([options.command(), "\n"])
    audit = run(options, lambda line: say([line, "\n"]))
    say(f"{line}\n" for line in report(options, audit))
    return audit


def _need(kind: str) -> None:
    """Skip where there is no such server, nor the programs for one of our own."""
    services._find(kind)


@pytest.mark.parametrize(("database", "rotation", "seed"), SHORT)
def test_a_minute_of_faults_breaks_no_invariant(database: str, rotation: str, seed: int) -> None:
    """Workers stopped and killed, the database restarted and cut, amoCRM down, slow, silent, limited and moved."""
    audit = made(Options(database=database, rotation=rotation, seed=seed, minutes=0.75, every=1.1))
    assert not audit.violations, audit.violations[:5]
    assert audit.counts["calls"]["access_token: ok"] > 300
    assert sum(audit.counts["points hit"].values()) >= 5, "the faults at named points were not felt"


def test_half_a_minute_of_faults_breaks_no_invariant_on_djangos_orm() -> None:
    """The same faults, and the store of the Django adapter."""
    audit = made(Options(store="django", database="postgresql", users=80, seed=4, minutes=0.4, every=0.8))
    assert not audit.violations, audit.violations[:5]
    assert audit.counts["calls"]["access_token: ok"] > 150
    assert sum(audit.counts["points hit"].values()) >= 3, "the faults at named points were not felt"


@pytest.mark.parametrize("guard", TEETH)
def test_a_guard_that_is_switched_off_is_found_missing(guard: str) -> None:
    """The run fails, and names the invariant."""
    rule, felt = _FELT[guard]
    audit = made(Options(without=guard, **{**_SMALL, **felt}))
    assert rule in audit.rules, "nobody noticed"


@pytest.mark.parametrize("felt", [_FELT["swap"][1], _FELT["doubt"][1]], ids=["slow", "overtake"])
def test_with_every_guard_the_same_load_breaks_nothing(felt: dict[str, object]) -> None:
    """So what the guards are missed by is their absence, not the load."""
    # a pair that has run out on arrival, by a clock that is ahead, is served for a while: tokens live longer than that here
    audit = made(Options(**{**_SMALL, **felt, "lifetime": 60}))
    assert not audit.violations, audit.violations[:5]


@pytest.mark.long
@pytest.mark.parametrize(("database", "rotation", "store"), LONG)
def test_minutes_of_faults_break_no_invariant(database: str, rotation: str, store: str) -> None:
    """The same for longer, in every combination."""
    audit = made(Options(database=database, rotation=rotation, store=store, seed=11, minutes=3.0))
    assert not audit.violations, audit.violations[:5]
