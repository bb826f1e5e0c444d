"""The end of a schedule: everything comes to rest, and then somebody asks again."""

from typing import TYPE_CHECKING, Any

from amocrm_userauth.errors import AmoCRMUserAuthError, ReauthorizationRequired
from tests.interleavings.judge import Violation
from tests.interleavings.world import USER, Actor, World

if TYPE_CHECKING:
    from tests.interleavings.world import Process

_PAUSE = 100.0  # longer than a lease and than any cool-down here
_DAY = 86_400.0
_PATIENCE = 6
_LAST = "Z"


def close_the_books(world: World, known: dict[object, str]) -> tuple[object, str]:
    """Check that nothing hangs or is left over, and that who is connected stays so.

    Returns the end (what is stored, what amoCRM knows, what each caller got) and, of users who are lost and may be,
    which. ``known`` holds ends that were checked before.
    """
    world.judge.verdict()
    _nobody_waits(world)
    users = sorted({call.actor.user for call in world.judge.calls})
    got = tuple((str(call.actor), _named(call.outcome)) for call in world.judge.calls)
    excused = tuple(map(world.judge.may_be_lost, users))
    alive = tuple(process.name for process in world.processes.values() if process.alive)
    key = (world.now, world.shared_key(), frozenset(world.judge.disconnected), excused, alive)
    unsaved = any(process.alive and process.service._scope.unsaved for process in world.processes.values())
    end = (world.shared_key(), frozenset(got))
    if unsaved or key not in known:
        world.jumps, world.faults, world.crashes, world.cancels, world.gates = [], 0, 0, 0, []
        lost = ", ".join(user for user in users if _is_lost(world, user))
        _nothing_left(world)
        if unsaved:
            return end, lost
        known[key] = lost
    return end, known[key]


def _named(outcome: object) -> str:
    return outcome if isinstance(outcome, str) else type(outcome).__name__


def _nobody_waits(world: World) -> None:
    for process, call, task in world.tasks:
        if process.alive and not task.done():
            raise Violation(f"{call.actor} waits for ever")
    for process in world.processes.values():
        if process.alive and process.service._mine:
            raise Violation(f"work of {process.name} is under way and nothing moves")
    if world.loop.complaints:
        raise Violation(f"the event loop complained: {world.loop.complaints[0].get('message')}")


def _has_left(world: World, user: str) -> bool:
    """Say whether nobody is connected. Raises ``Violation`` if somebody should be, or should not."""
    left = world.judge.disconnected
    if user in left:
        _ask_each(world, user)
    there = world.store._rows.get(user) is not None
    if there and user in left:
        raise Violation(f"{user} disconnected and is connected")
    if not there and user not in left and world.rules.row != "none":
        raise Violation(f"the row of {user} is gone although nobody disconnected")
    return not there


def _is_lost(world: World, user: str) -> bool:
    """Ask for tokens for three days. Raises ``Violation`` if the user is lost and should not be."""
    if _has_left(world, user):
        return False
    judge = world.judge
    excused = judge.may_be_lost(user)
    last = world.processes.get(_LAST) or world.start_process(_LAST)
    for _ in range(3):
        outcome = _ask(world, last, user)
        if isinstance(outcome, ReauthorizationRequired):
            _ask_each(world, user)
            outcome = _ask(world, last, user)
        if isinstance(outcome, ReauthorizationRequired):
            if not excused and not judge.may_be_lost(user):
                raise Violation(f"{user} is lost although no answer was: {outcome!r}")
            return True
        if not isinstance(outcome, str):
            raise Violation(f"{user} does not get a token again: {outcome!r}")
        world.now += _DAY
    return False


def _ask_each(world: World, user: str) -> None:
    """Let each process come back: one that has an unsaved pair saves it with its next call."""
    for process in list(world.processes.values()):
        if process.alive:
            _ask(world, process, user)


def _ask(world: World, process: "Process", user: str) -> Any:
    """Ask for a token until there is one that amoCRM takes, or a definite answer."""
    outcome: Any = None
    for _ in range(_PATIENCE):
        world.now += _PAUSE
        outcome = run_call(world, process, user, "token")
        if isinstance(outcome, str) and not world.amocrm.accepts(outcome, world.now):
            outcome = run_call(world, process, user, "rejected", outcome)
            if isinstance(outcome, str) and not world.amocrm.accepts(outcome, world.now):
                continue
        if isinstance(outcome, (str, ReauthorizationRequired)):
            return outcome
        if not isinstance(outcome, AmoCRMUserAuthError):
            return outcome
    return outcome


def run_call(world: World, process: "Process", user: str, kind: str, rejected: str | None = None) -> Any:
    """Make one call, with nothing else going on, and return its outcome."""
    kind = f"{kind} {rejected or ''}".strip()
    call = world.begin(Actor(process.name, kind, user))
    while not call.ended:
        actions = world.actions()
        if not actions:
            raise Violation(f"the last caller of {user} waits for ever")
        actions[0].do()
    while world._under_way():
        world.actions()[0].do()
    world.judge.verdict()
    return call.outcome


def _nothing_left(world: World) -> None:
    for process in list(world.processes.values()):
        if not process.alive:
            continue
        outcome = run_call(world, process, USER, "close")
        if outcome is not None:
            raise Violation(f"closing {process.name} failed: {outcome!r}")
        if process.service._mine or process.service._scope.unsaved:
            raise Violation(f"{process.name} was closed with something left over")
    if any(not task.done() for task in world.loop.tasks if task.get_name() == "amocrm_userauth"):
        crashed = {id(process) for process in world.processes.values() if not process.alive}
        if not crashed:
            raise Violation("a task is left over")
    _nobody_waits(world)
