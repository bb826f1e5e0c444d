"""Depth-first through every order of steps, by running the world anew for each."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.interleavings.closing import close_the_books
from tests.interleavings.judge import Violation
from tests.interleavings.world import Action, World, determined

_DEEPEST = 400
_SWEEP = 400


@dataclass(slots=True)
class Found:
    """A schedule that breaks an invariant."""

    schedule: list[str]
    why: str


@dataclass(slots=True)
class Result:
    """What one exploration did. ``complete``: every order was explored."""

    executions: int = 0
    schedules: int = 0
    lost: int = 0
    states: int = 0
    longest: int = 0
    seconds: float = 0.0
    complete: bool = True
    ends: set[object] = field(default_factory=set)
    found: Found | None = None


@dataclass(slots=True)
class _Node:
    """A state on the way: what is tried now, was tried, is to be tried, and need not be (its sleep set)."""

    todo: list[Action]
    asleep: dict[str, Action]
    tried: list[Action] = field(default_factory=list)
    chosen: Action = field(init=False)

    def choose(self) -> None:
        self.chosen = self.todo.pop(0)

    def next(self) -> bool:
        if not self.todo:
            return False
        self.tried.append(self.chosen)
        self.choose()
        return True

    def asleep_after(self) -> dict[str, Action]:
        """What was tried before the chosen action and commutes with it: its orders are explored already."""
        before = self.asleep | {one.label: one for one in self.tried}
        return {label: one for label, one in before.items() if one.independent(self.chosen)}


def explore(
    make: Callable[[], World], *, limit: int | None = None, reduce: bool = True, keep_ends: bool = False
) -> Result:
    """Explore every order of steps of the world that ``make`` makes, at most ``limit`` executions."""
    result, began = Result(), time.perf_counter()
    # a world is a knot of cycles; what was there before need not be looked at again and again
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        with determined():
            _Search(make, result, reduce=reduce, keep_ends=keep_ends).run(limit)
    finally:
        gc.enable()
        gc.unfreeze()
    result.seconds = time.perf_counter() - began
    return result


class _Search:
    def __init__(self, make: Callable[[], World], result: Result, *, reduce: bool, keep_ends: bool) -> None:
        self.make = make
        self.result = result
        self.reduce = reduce
        self.keep_ends = keep_ends
        self.unexplored: dict[int, frozenset[str]] = {}
        self.closed: dict[object, str] = {}
        self.path: list[_Node] = []

    def run(self, limit: int | None) -> None:
        result = self.result
        try:
            while True:
                self._execute()
                if not self._back():
                    break
                if limit is not None and result.executions >= limit:
                    result.complete = False
                    break
        except Violation as violation:
            result.found = Found(self._schedule(), str(violation))
        result.states = len(self.unexplored)

    def _schedule(self) -> list[str]:
        return [node.chosen.label for node in self.path]

    def _back(self) -> bool:
        """Go to the deepest state with something left to try."""
        while self.path and not self.path[-1].next():
            self.path.pop()
        return bool(self.path)

    def _execute(self) -> None:
        self.result.executions += 1
        if self.result.executions % _SWEEP == 0:
            gc.collect()
        world = self.make()
        try:
            for node in self.path:
                world.do(node.chosen.label)
            while (node := self._enter(world)) is not None:
                self.path.append(node)
                node.choose()
                node.chosen.do()
                world.judge.verdict()
        finally:
            world.close()

    def _enter(self, world: World) -> _Node | None:
        actions = world.actions()
        if not actions:
            self.result.schedules += 1
            end, lost = close_the_books(world, self.closed)
            self.result.lost += bool(lost)
            if self.keep_ends:
                self.result.ends.add(end)
            return None
        if len(self.path) > _DEEPEST:
            raise Violation("a schedule does not come to its end")
        if self.reduce and not world.jumps:
            actions = _local_to_one(actions) or actions
        asleep = self.path[-1].asleep_after() if self.path and self.reduce else {}
        awake = [action for action in actions if action.label not in asleep]
        if self.reduce:
            key = world.key()
            known = self.unexplored.get(key)
            if known is not None:
                awake = [action for action in awake if action.label in known]
                self.unexplored[key] = known & asleep.keys()
            else:
                self.unexplored[key] = frozenset(asleep)
        if not awake:
            return None
        self.result.longest = max(self.result.longest, len(self.path) + 1)
        return _Node(awake, asleep)


def _local_to_one(actions: list[Action]) -> list[Action] | None:
    """Return the actions of a process none of whose actions touches anything shared: when they happen is all one."""
    sharing = {action.process for action in actions if action.touches or not action.process}
    for action in actions:
        if action.process not in sharing:
            return [one for one in actions if one.process == action.process]
    return None


def replay(make: Callable[[], World], schedule: list[str], say: Callable[[str], Any]) -> str | None:
    """Run one schedule, saying each step; return the violation, if it is one."""
    with determined():
        world = make()
        try:
            for number, label in enumerate(schedule, 1):
                say(f"{number:3}. {label}")
                world.do(label)
                world.judge.verdict()
            close_the_books(world, {})
        except Violation as violation:
            return str(violation)
        finally:
            world.close()
    return None
