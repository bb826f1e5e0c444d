"""Longer histories of several users and processes, at random: the same invariants."""

import contextlib
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from amocrm_userauth import AsyncMemoryTokenStore
from tests.interleavings import bugs
from tests.interleavings.closing import close_the_books
from tests.interleavings.judge import Violation
from tests.interleavings.scenarios import READINGS
from tests.interleavings.world import Actor, Process, Rules, World, code_of, determined

_LONG = os.environ.get("AMOCRM_TEST_LONG") == "1"
_ENDLESS = 3000
_USERS = ("u", "v")
_PROCESSES = ("A", "B", "C")
_AMOCRM_FAILS = ("lost", "503", "503*", "429", "unconnected")
_CALLS = ("token", "token", "token", "rejected", "refresh", "disconnect", "connect_anew")


class Histories(RuleBasedStateMachine):
    """Each rule is one event; ``step`` and ``steps`` let what waits happen."""

    store: type[AsyncMemoryTokenStore] = AsyncMemoryTokenStore
    rig: Any = None
    readings = tuple(READINGS)

    @initialize(
        reading=st.sampled_from(range(4)), lookup=st.booleans(), row=st.sampled_from(["expired", "due", "valid"])
    )
    def start(self, reading: int, lookup: bool, row: str) -> None:
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(determined())
        chosen = READINGS[self.readings[reading % len(self.readings)]]
        rules = Rules(lookup=lookup, row=row, cancels=_PROCESSES, **chosen)
        kind = type(self)
        self.world = World(rules, (), store=kind.store, rig=kind.rig)
        self.stack.callback(self.world.close)
        self.codes = 0
        self.births = 0
        for name in _PROCESSES:
            self.world.start_process(name, shared=True)
        for user in _USERS:
            self.world.populate(user)

    def _living(self, which: int) -> Process:
        living = [process for process in self.world.processes.values() if process.alive]
        return living[which % len(living)]

    @rule(which=st.integers(0, 2), kind=st.sampled_from(_CALLS), user=st.sampled_from(_USERS))
    def call(self, which: int, kind: str, user: str) -> None:
        """Somebody calls the service."""
        if kind == "connect_anew":
            self.codes += 1
            self.world.amocrm.codes[code_of(user, self.codes)] = user
            kind = f"connect_anew {self.codes}"
        if kind == "rejected":
            row = self.world.store._rows.get(user)
            kind = "token" if row is None else f"rejected {row.pair.access_token}"
        self.world.begin(Actor(self._living(which).name, kind, user))
        self.world.judge.verdict()

    @precondition(lambda self: self.world.actions())
    @rule(which=st.integers(0, 20))
    def step(self, which: int) -> None:
        """One of the things that wait happens."""
        actions = self.world.actions()
        actions[which % len(actions)].do()
        self.world.judge.verdict()

    @precondition(lambda self: self.world.gates)
    @rule(count=st.integers(2, 12), which=st.integers(0, 5))
    def steps(self, count: int, which: int) -> None:
        """Several happen, one after the other."""
        for _ in range(count):
            actions = self.world.actions()
            if actions:
                actions[which % len(actions)].do()
        self.world.judge.verdict()

    @precondition(lambda self: self.world.gates)
    @rule(which=st.integers(0, 20), how=st.integers(0, 20))
    def fail(self, which: int, how: int) -> None:
        """A call to the store or to amoCRM fails."""
        gates = [
            gate for gate in self.world.open_gates() if gate.op not in {"sleep", "answer", "granted", "look_up", "api"}
        ]
        if gates:
            gate = gates[which % len(gates)]
            variants = _AMOCRM_FAILS if gate.op == "send" else ("fail", "fail*")
            self.world.release(gate, variants[how % len(variants)], gate.op)
            self.world.judge.verdict()

    @rule(seconds=st.sampled_from([1.0, 21.0, 61.0, 91.0, 3600.0, 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        """Everybody who stands at a step is stopped meanwhile."""
        self.world.pass_time(seconds)

    @rule(which=st.integers(0, 2))
    def restart(self, which: int) -> None:
        """A process dies, and another takes its place."""
        self.world.crash(self._living(which))
        self.births += 1
        self.world.start_process(f"P{self.births}", shared=True)

    @rule(which=st.integers(0, 5))
    def cancel(self, which: int) -> None:
        """A caller is cancelled."""
        waiting = [(process, task) for process, _, task in self.world.tasks if process.alive and not task.done()]
        if waiting:
            process, task = waiting[which % len(waiting)]
            self.world.cancel(process, task, "cancel")
            self.world.judge.verdict()

    @precondition(lambda self: self.world.rules.lookup)
    @rule(user=st.sampled_from(_USERS), number=st.integers(1, 9))
    def move(self, user: str, number: int) -> None:
        """The user's account gets another address."""
        self.world.amocrm.hosts[user] = f"{user}{number}.amocrm.ru"
        self.world.judge.trouble = True

    def teardown(self) -> None:
        """Everything comes to rest, and then somebody asks again."""
        if not hasattr(self, "stack"):
            return
        with self.stack:
            for _ in range(_ENDLESS):
                actions = self.world.actions()
                if not actions:
                    break
                actions[0].do()
            close_the_books(self.world, {})


_SETTINGS = settings(
    max_examples=1500 if _LONG else 60,
    stateful_step_count=60 if _LONG else 40,
    derandomize=not _LONG,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_long_histories_keep_the_invariants() -> None:
    """Two users, three processes and their successors, and everything that may go wrong."""
    run_state_machine_as_test(Histories, settings=_SETTINGS)


# the others take rare orders to show: they are the explorer's
_SOON = {
    "a lease that is granted twice",
    "a commit without compare-and-swap undoes a disconnect",
    "condemning without another look",
    "no look at the deadline before the send",
    "a disconnect that only marks the row",
}


@pytest.mark.parametrize("bug", [bug for bug in bugs.BUGS if bug.name in _SOON], ids=lambda bug: bug.name)
def test_histories_find_a_planted_bug(bug: bugs.Bug) -> None:
    """The same machine, on a spoilt store or service, does not get through."""
    spoilt = {"store": bug.store, "rig": None if bug.rig is None else staticmethod(bug.rig)}
    kind = type("Spoilt", (Histories,), spoilt)
    with pytest.raises(Violation):
        run_state_machine_as_test(kind, settings=settings(_SETTINGS, max_examples=500, phases=[Phase.generate]))
