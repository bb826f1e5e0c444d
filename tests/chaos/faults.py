"""Which faults come when: a schedule that follows from the seed, and how each is applied."""

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amocrm_userauth.testing import FakeAmoCRM
from tests.chaos.options import LEASE, POINTS, Options

if TYPE_CHECKING:
    from amocrm_userauth.testing._fake.handle import At
    from tests.chaos.run import Run

_ARMED = 8.0
_OF_SERVERS = {"database-restart", "database-cut"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One fault. ``at`` is in real seconds after the start of the faults, ``seconds`` in those of amoCRM's."""

    number: int
    at: float
    kind: str
    point: str
    worker: int
    user: str
    seconds: float
    either: bool

    @property
    def name(self) -> str:
        return f"{self.kind} {self.point}".strip()


def schedule(options: Options) -> Iterator[Planned]:
    """Yield the faults of a run. Every kind comes up once before any comes up again."""
    chance = random.Random(f"faults {options.seed}")
    chosen = [kind for kind in options.chosen if options.database != "sqlite" or kind not in _OF_SERVERS]
    every = [(kind, point) for kind in chosen for point in (POINTS if kind.endswith("-at") else ("",))]
    at, number, deck = 0.5, 0, list[tuple[str, str]]()
    while every:
        if not deck:
            deck = list(every)
            chance.shuffle(deck)
        at += chance.expovariate(1 / options.every)
        if at > options.minutes * 60:
            return
        number += 1
        kind, point = deck.pop()
        yield Planned(
            number=number,
            at=at,
            kind=kind,
            point=point,
            worker=chance.randrange(options.immune if kind.startswith("kill") else 0, options.workers),
            user=f"u{chance.randrange(options.users)}",
            seconds=_length(kind, chance),
            either=chance.random() < 0.5,
        )


def _length(kind: str, chance: random.Random) -> float:
    low, high = {
        "stop": (2, 0.7 * LEASE),
        "stop-at": (2, 0.7 * LEASE),
        "stop-long": (1.1 * LEASE, 1.5 * LEASE),
        "stop-long-at": (1.1 * LEASE, 1.5 * LEASE),
        "database-lock": (5, 30),
        "down": (3, 25),
        "unavailable": (3, 25),
        "slow": (1, 15),
        "late": (22, 60),
        "overtake": (24, 30),
    }.get(kind, (0, 0))
    return chance.uniform(low, high)


def apply(run: "Run", fault: Planned) -> bool:
    """Let one fault happen, and write it down; ``False`` if it has to wait, as too many workers are down."""
    found: Callable[[Run, Planned], bool | None] = _DO[fault.kind]
    return found(run, fault) is not False


def _signal(run: "Run", fault: Planned) -> bool:
    worker = run.worker_for(fault.worker)
    if worker is None:
        return False
    run.note(fault, on=worker.name)
    if fault.kind == "kill":
        worker.kill()
    elif fault.kind in {"stop", "stop-long"}:
        worker.stop(run.real(fault.seconds))
    else:
        do = "kill" if fault.kind == "kill-at" else "stop"
        worker.arm({"do": do, "point": fault.point, "number": fault.number}, run.real(fault.seconds), _ARMED)
    return True


def _aside(run: "Run", fault: Planned, work: Callable[[], Any]) -> None:
    """Do what takes time in a thread; the run waits for it at the end."""
    run.note(fault)

    def go() -> None:
        work()
        run.journal.write("over", number=fault.number)

    thread = threading.Thread(target=go, name=f"fault {fault.number}")
    thread.start()
    run.aside.append(thread)


def _database(run: "Run", fault: Planned) -> None:
    database = run.database
    if fault.kind == "database-lock":
        _aside(run, fault, lambda: _quietly(lambda: database.hold(run.real(fault.seconds))))
    elif fault.kind == "database-cut":
        _aside(run, fault, lambda: _quietly(database.cut))
    else:
        _aside(run, fault, lambda: database.restart(hard=fault.either))


def _quietly(work: Callable[[], Any]) -> None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - two faults met: the database is down
        del error


def _outage(run: "Run", fault: Planned) -> None:
    run.note(fault)
    run.amo.down(status=None if fault.kind == "down" else 503)
    run.later(run.real(fault.seconds), run.amo.up)


def _answers(run: "Run", fault: Planned) -> None:
    run.note(fault)
    run.delayed = max(run.delayed, fault.seconds)
    _ARRANGE[fault.kind](run.amo, fault, run.real(fault.seconds))


def _some(fault: Planned, count: int) -> list[str]:
    first = int(fault.user[1:])
    return [f"u{max(first - more, 0)}" for more in range(count)]


def _when(fault: Planned) -> "At":
    return "before" if fault.either else "after"


_ARRANGE: dict[str, Callable[[FakeAmoCRM, Planned, float], object]] = {
    "slow": lambda amo, fault, seconds: amo.delay_next(None, seconds, at=_when(fault), times=8),
    "late": lambda amo, fault, seconds: amo.delay_next(None, seconds, at=_when(fault), times=4),
    # the first request arrives after the second, which does not know of it
    "overtake": lambda amo, fault, seconds: [amo.delay_next(user, seconds) for user in _some(fault, 3)],
    "drop": lambda amo, _, __: amo.drop_answer_next(None, times=2),
    "cut": lambda amo, fault, _: amo.fail_next(None, kind="cut" if fault.either else "truncated", status=200, times=2),
    "drip": lambda amo, fault, _: amo.drip_next(None, 0.003 if fault.either else 0.0001, times=2),
    "limited": lambda amo, fault, _: amo.fail_next(
        None, status=429, kind="json" if fault.either else "html", retry_after=5, times=5
    ),
    "forbidden": lambda amo, _, __: amo.fail_next(None, status=403, times=5),
    "error": lambda amo, fault, _: amo.fail_next(None, status=500 if fault.either else 504, times=4),
    "lookup": lambda amo, fault, _: amo.fail_next(
        None, status=500, kind="silence" if fault.either else "json", on="lookup", times=5
    ),
}


def _move(run: "Run", fault: Planned) -> None:
    run.note(fault, on=fault.user)
    run.amo.rename_account(fault.user, f"moved{fault.number}")


def _expire(run: "Run", fault: Planned) -> None:
    users = [f"u{(int(fault.user[1:]) + more) % run.options.users}" for more in range(10)]
    run.note(fault, on=" ".join(users))
    for user in users:
        run.amo.expire(user)


_DO: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("kill", "stop", "stop-long", "kill-at", "stop-at", "stop-long-at"), _signal),
    **dict.fromkeys(("database-restart", "database-cut", "database-lock"), _database),
    **dict.fromkeys(("down", "unavailable"), _outage),
    **dict.fromkeys(_ARRANGE, _answers),
    "move": _move,
    "expire": _expire,
}
