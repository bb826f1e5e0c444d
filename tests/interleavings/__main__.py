"""Explore, and print what was explored; or run one schedule again."""

import argparse
import sys
from functools import partial

from tests.interleavings.bugs import BUGS
from tests.interleavings.explorer import Result, explore, replay
from tests.interleavings.scenarios import SCENARIOS, Scenario, runs
from tests.interleavings.world import World

_HEAD = f"{'scenario':60} {'reading':14} {'schedules':>9} {'lost':>6} {'states':>7} {'longest':>7} {'seconds':>7}"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def line(scenario: Scenario, reading: str, result: Result) -> str:
    """One line of the table."""
    bound = "" if result.complete else f"  bound: {result.executions} executions"
    return (
        f"{scenario.name:60} {reading:14} {result.schedules:9} {result.lost:6} {result.states:7} {result.longest:7} "
        f"{result.seconds:7.2f}{bound}"
    )


def told(scenario: Scenario, reading: str, result: Result) -> str:
    """A violation as steps, with the string that replays it."""
    if result.found is None:
        return ""
    steps = "\n".join(f"{number:4}. {step}" for number, step in enumerate(result.found.schedule, 1))
    again = f"{scenario.name}/{reading}: {', '.join(result.found.schedule)}"
    return f"{result.found.why}\n{steps}\npython -m tests.interleavings --replay '{again}'"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.interleavings", description=__doc__)
    parser.add_argument("--long", action="store_true", help="also the scenarios that take minutes")
    parser.add_argument("--only", default="", help="a part of the scenario's name and reading")
    parser.add_argument("--limit", type=int, help="executions for each scenario; all by default")
    parser.add_argument("--bug", choices=[bug.name for bug in BUGS], help="plant this bug")
    parser.add_argument("--replay", help="a schedule, as it was printed")
    options = parser.parse_args()
    bug = next((bug for bug in BUGS if bug.name == options.bug), None)
    planted = {} if bug is None else {"store": bug.store, "rig": bug.rig}
    if options.replay:
        name, _, steps = options.replay.partition(": ")
        name, _, reading = name.rpartition("/")
        scenario = next(one for one in SCENARIOS if one.name == name)
        make = partial(World, scenario.rules_in(reading), scenario.cast(), **planted)
        why = replay(make, [step.strip() for step in steps.split(",")], _say)
        _say(why or "no invariant is broken")
        return why is not None
    _say(_HEAD)
    results = []
    for scenario, reading in runs(long=options.long):
        if options.only not in f"{scenario.name}/{reading}":
            continue
        make = partial(World, scenario.rules_in(reading), scenario.cast(), **planted)
        results.append(explore(make, limit=options.limit))
        _say(f"{line(scenario, reading, results[-1])}\n{told(scenario, reading, results[-1])}".rstrip())
    total = sum(result.schedules for result in results), sum(result.seconds for result in results)
    _say(f"{len(results)} explorations, {total[0]} schedules, {total[1]:.0f} s")
    return any(result.found for result in results)


if __name__ == "__main__":
    sys.exit(main())
