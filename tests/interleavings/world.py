"""One small world: processes with real services over one real store, and a light amoCRM, moved step by step.

Nothing here happens by itself. Every call to the store waits at a *gate* until a scheduler lets it take effect, every
request to amoCRM at two: its arrival (amoCRM does its work) and its answer. What a process does between two gates is
its own affair. Time moves only when told.
"""

import asyncio
import contextlib
import contextvars
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, Integration, StateManager, TokenPair, UserToken
from amocrm_userauth._async import connecting, leaving, renewing, serving
from amocrm_userauth._core.state import hash_code
from amocrm_userauth._pairs import AsyncTime
from tests.interleavings import amocrm
from tests.interleavings.amocrm import AmoCRM
from tests.interleavings.judge import Call, Judge, Presentation
from tests.interleavings.loop import Handle, Loop
from tests.races.kit import Wrapped

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
USER = "u"
PROCESS: contextvars.ContextVar["Process"] = contextvars.ContextVar("process")
INTEGRATION = Integration(amocrm.CLIENT_ID, amocrm.SECRET, amocrm.REDIRECT)
EXCHANGE, LEASE = 20.0, 90.0
AMOCRM, FAULTS, CRASHES, CANCELS, ENDS = "amocrm", "faults", "crashes", "cancels", "ends"

_ROW_WRITES = {"put", "delete", "take_lease", "commit", "note_failure"}
STORE_CALLS = {"get", "remember_code", "find_code", "claim", "finish", *_ROW_WRITES}

Touches = frozenset[tuple[str, bool]]


@dataclass(slots=True, eq=False)
class Gate:
    """Something that a process waits for. ``run`` lets it happen and returns the value, or the next gate."""

    process: "Process"
    task: Any
    op: str
    touches: Touches
    run: Callable[[str], Any]
    future: asyncio.Future[Any]
    on_the_wire: bool = False
    variants: tuple[str, ...] = ()
    presentation: Presentation | None = None


@dataclass(slots=True)
class Action:
    """One thing that can happen next. ``process`` is ``""`` for the passing of time, which touches everything."""

    label: str
    process: str
    touches: Touches
    do: Callable[[], None]

    def independent(self, other: "Action") -> bool:
        """Say whether the order of the two makes no difference, and neither can hinder the other."""
        if not self.process or not other.process or self.process == other.process:
            return False
        return not any(
            what == resource and (writes or also) for resource, writes in self.touches for what, also in other.touches
        )


@dataclass(slots=True, eq=False)
class Process:
    """One process: a service of its own, and (unless ``shared``) one caller."""

    name: str
    world: "World"
    shared: bool = False
    alive: bool = True
    ahead: float = 0.0
    history: int = 0
    made: int = 0
    looked: bool = True
    saw: object = None
    service: Any = None
    store: Any = None

    def monotonic(self) -> float:
        return self.world.now + self.ahead

    def wall(self) -> datetime:
        return EPOCH + timedelta(seconds=self.world.now + self.ahead)

    def name_next(self) -> str:
        """A name that depends only on what this process did before, not on the others."""
        self.made += 1
        return f"{self.name}{self.made}" if len(self.name) == 1 else f"{self.name}-{self.made}"

    def sees(self, label: str, what: object) -> None:
        self.history = hash((self.history, label, what, self.world.now))


@dataclass(frozen=True, slots=True)
class Actor:
    """Who calls what: ``kind`` is a key of :data:`CALLS`, ``process`` where."""

    process: str
    kind: str
    user: str = USER


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may happen in a world beside its actors' own steps, and how often."""

    rotation: str = "strict"
    lenient_until: str = "refresh"
    lookup: bool = False
    row: str = "expired"
    jumps: tuple[float, ...] = ()
    faults: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fault_budget: int = 1
    crashes: tuple[str, ...] = ()
    cancels: tuple[str, ...] = ()
    orphans: bool = True
    moved: bool = False
    wait_budget: float = 1000.0
    save_budget: float = 0.06


class VirtualTime(AsyncTime):
    """A process's own clock. Its pauses pass at once for itself, and not at all for the others."""

    def monotonic(self) -> float:
        return PROCESS.get().monotonic()

    async def sleep(self, seconds: float) -> None:
        process = PROCESS.get()
        if process.shared:
            await process.world.gate("sleep", frozenset(), lambda _variant: None)
        process.ahead += seconds

    async def sleep_jittered(self, seconds: float) -> None:
        await self.sleep(seconds)


class PollingTime(VirtualTime):
    """The pauses of one who waits for another: they end when something was stored, or time has passed.

    A look that shows the same again changes nothing but the length of the next pause, so looks in between are left out.
    """

    async def sleep(self, seconds: float) -> None:
        process = PROCESS.get()
        await process.world.pause(process)
        process.ahead += seconds


class VirtualUserAuth(AsyncUserAuth):
    """The real service, with pauses and the holder's own clock in the scheduler's hands."""

    _make_time = VirtualTime


class Store(Wrapped):
    """One process's way to the shared store: every call waits at a gate."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name not in STORE_CALLS:
            return method

        async def call(*args: Any, **more: Any) -> Any:
            return await PROCESS.get().world.store_call(name, method, args, more)

        return call

    async def get(self, *args: Any, **more: Any) -> Any:
        return await PROCESS.get().world.store_call("get", self.inner.get, args, more)


class Transport(httpx.AsyncBaseTransport):
    """Brings requests to the model of the sender's world."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await PROCESS.get().world.asked(request)


class Client(httpx.AsyncClient):
    """A client whose requests go to the worlds."""

    def build_request(self, *_args: Any, **_more: Any) -> httpx.Request:
        return _ANY  # the service looks at its class


_ANY = httpx.Request("GET", "https://amocrm.invalid")
HTTP = Client(transport=Transport(), trust_env=False)
_STATES: dict[tuple[str, int], str] = {}


def state_of(user: str, number: int) -> str:
    """A state that is good in every world: its signature depends on the integration only."""
    if (user, number) not in _STATES:
        _STATES[user, number] = StateManager(INTEGRATION, clock=lambda: EPOCH).issue(user)[0]
    return _STATES[user, number]


def code_of(user: str, number: int) -> str:
    """The ``number``-th code of ``user``."""
    return f"code-{user}-{number}"


def _token_hex(_bytes: int = 16) -> str:
    return PROCESS.get().name_next()


def _first(items: list[Any], count: int) -> list[Any]:
    return items[:count]


@contextlib.contextmanager
def determined() -> Iterator[None]:
    """Let ids be named by who made them, chance be none, and the wait for a silent holder be two looks."""
    kept = renewing.token_hex, serving.sample, renewing._SILENT_HOLDER
    log = logging.getLogger("amocrm_userauth")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        renewing.token_hex = connecting.token_hex = leaving.token_hex = _token_hex
        serving.sample = _first
        renewing._SILENT_HOLDER = 0.3
        yield
    finally:
        renewing.token_hex = connecting.token_hex = leaving.token_hex = kept[0]
        serving.sample, renewing._SILENT_HOLDER = kept[1:]
        log.setLevel(level)


def access_of(user: str) -> str:
    """The access token that ``user`` starts with."""
    return f"e30.{amocrm.claims_of(user)}.{user}0"


def _host(user: str) -> str:
    return PROCESS.get().world.amocrm.host(user)


async def _connect(auth: AsyncUserAuth, user: str, number: str) -> Any:
    return await auth.connect(
        user, code=code_of(user, int(number)), state=state_of(user, int(number)), referer=_host(user)
    )


async def _connect_anew(auth: AsyncUserAuth, user: str, number: str) -> Any:
    request = await auth.begin(user)
    return await auth.connect(user, code=code_of(user, int(number)), state=request.state, referer=_host(user))


# by the first word of an actor's kind; the rest of it is the third argument
CALLS: dict[str, Callable[[AsyncUserAuth, str, str], Awaitable[Any]]] = {
    "token": lambda auth, user, _: auth.access_token(user),
    "rejected": lambda auth, user, token: auth.access_token(user, rejected=token or access_of(user)),
    "refresh": lambda auth, user, _: auth.refresh(user),
    "disconnect": lambda auth, user, _: auth.disconnect(user),
    "connect": _connect,
    "connect_anew": _connect_anew,
    "close": lambda auth, _user, _: auth.aclose(),
}


class World:
    """Everything that a schedule moves. ``rig(service)`` may spoil a service, ``store`` may be a spoilt one."""

    def __init__(
        self,
        rules: Rules,
        actors: tuple[Actor, ...],
        *,
        store: Callable[[], AsyncMemoryTokenStore] = AsyncMemoryTokenStore,
        rig: Callable[[Any], None] | None = None,
    ) -> None:
        self.rules = rules
        self.rig = rig
        self.now = 0.0
        self.loop = Loop(self._local_time)
        self.store = store()
        self.amocrm = AmoCRM(rules.rotation, lenient_until=rules.lenient_until, lookup=rules.lookup)
        self.judge = Judge(self)
        self.gates: list[Gate] = []
        self.pollers: list[tuple[Process, asyncio.Future[Any], object]] = []
        self.row_writes = self.state_writes = 0
        self.waiting = list(actors)
        self.jumps = list(rules.jumps)
        self.faults = rules.fault_budget
        self.crashes = 1
        self.cancels = 1
        self.processes: dict[str, Process] = {}
        self.tasks: list[tuple[Process, Call, Any]] = []
        for actor in actors:
            if actor.process not in self.processes:
                self.start_process(actor.process, shared=sum(a.process == actor.process for a in actors) > 1)
        for user in sorted({actor.user for actor in actors}):
            self.populate(user)

    def _local_time(self) -> float:
        process = PROCESS.get(None)
        return self.now if process is None else process.monotonic()

    def populate(self, user: str) -> None:
        self.amocrm.codes |= {code_of(user, number): user for number in (1, 2)}
        if self.rules.row == "none":
            return
        age = {"expired": 86_400, "valid": 3_600, "due": 86_100}[self.rules.row]
        pair = self.amocrm.open_grant(f"{user}0", user, -age)
        self.store._rows[user] = UserToken(
            user_id=user,
            pair=TokenPair(
                access_token=pair.access,
                refresh_token=pair.refresh,
                expires_at=EPOCH + timedelta(seconds=pair.expires_at),
                account_id="1",
                amocrm_user_id="1",
                domain=self.amocrm.host(user),
                api_domain=amocrm.API_HOST if self.rules.lookup else "",
            ),
            revision=f"{user}0",
            client_id=amocrm.CLIENT_ID,
            pair_saved_at=EPOCH - timedelta(seconds=age),
        )
        if self.rules.moved:
            self.amocrm.hosts[user] = f"{user}-moved.amocrm.ru"

    def start_process(self, name: str, *, shared: bool = False) -> Process:
        process = Process(name, self, shared)
        self.processes[name] = process
        process.store = Store(self.store)
        token = PROCESS.set(process)
        try:
            process.service = VirtualUserAuth(
                INTEGRATION,
                process.store,
                http=HTTP,
                clock=process.wall,
                exchange_budget=EXCHANGE,
                lease=LEASE,
                wait_budget=self.rules.wait_budget,
                save_budget=self.rules.save_budget,
            )
            process.service._server._time = process.service._connector._time = PollingTime()
            if self.rig is not None:
                self.rig(process.service)
        finally:
            PROCESS.reset(token)
        return process

    # what processes wait for

    async def gate(self, op: str, touches: Touches, run: Callable[[str], Any], **more: Any) -> Any:
        process = PROCESS.get()
        future = self.loop.create_future()
        self.gates.append(Gate(process, asyncio.current_task(), op, touches, run, future, **more))
        return await future

    async def pause(self, process: Process) -> None:
        """Wait until there is something new to see."""
        future = self.loop.create_future()
        self.pollers.append((process, future, process.saw))
        await future

    def _wake(self) -> None:
        """Wake who can see something new: that is local, and nobody can tell when it happened."""
        for poller in list(self.pollers):
            process, future, saw = poller
            if not process.alive or future.done():
                self.pollers.remove(poller)
            elif saw != self.version():
                self.pollers.remove(poller)
                future.set_result(None)
                self.loop.drain()

    def version(self) -> tuple[float, int, int]:
        return (self.now, self.row_writes, self.state_writes)

    async def store_call(self, name: str, method: Any, args: Any, more: Any) -> Any:
        process = PROCESS.get()
        begun = process.monotonic()
        touches = self._touches(name, args, more)

        def run(variant: str) -> Any:
            if variant == "fail":
                self.judge.failed(process, name)
                raise OSError("example: the database said no")
            user = _user_of(args)
            before = self.store._rows.get(user)
            claims = dict(self.store._states)
            result = drive(method(*args, **more))
            self.row_writes += before is not self.store._rows.get(user)
            self.state_writes += name in {"claim", "finish"} and claims != self.store._states
            process.saw = self.version()
            self.judge.stored(process, name, args, more, user, before, result, begun)
            if variant == "fail*":
                self.judge.failed(process, name)
                raise OSError("example: the answer of the database was lost")
            if name == "take_lease" and self.jumps and result is not None and result.lease_holder == more["holder"]:
                return _Next("granted", lambda _variant: result)
            return result

        return await self.gate(name, touches, run, variants=self.rules.faults.get(name, ()))

    def _touches(self, name: str, args: Any, more: Any) -> Touches:
        if name == "put":
            # it may end a connect, and whether a disconnect begins before or after that makes a difference
            return frozenset([(f"row of {_user_of(args)}", True), (ENDS, True)])
        if name == "get" or name in _ROW_WRITES:
            return frozenset([(f"row of {_user_of(args)}", name != "get")])
        if name == "finish":
            record = self.store._states.get(more["nonce_hash"])
            return frozenset([(ENDS, True), ("" if record is None else record.code_hash, True)])
        code_hash = args[0] if name == "find_code" else more["code_hash"]
        return frozenset([(code_hash, name != "find_code")])

    def _touches_first(self, actor: Actor) -> Touches:
        """What a caller's first step touches, known before it is made."""
        kind, _, number = actor.kind.partition(" ")
        if kind == "connect":
            return frozenset([(hash_code(code_of(actor.user, int(number))), False)])
        if kind == "disconnect":
            return frozenset([(leaving._mark(actor.user), True), (ENDS, False)])
        return frozenset([(f"row of {actor.user}", False)])

    async def asked(self, request: httpx.Request) -> httpx.Response:
        process = PROCESS.get()
        host = request.url.host
        if request.method == "GET":
            return await self._looked_up(process, request)
        fields = _fields(request)
        name = process.name_next()
        presented = self.judge.sent(process, fields, name)

        def run(variant: str) -> Any:
            return self._arrive(presented, fields, host, variant)

        reply = await self.gate(
            "send",
            frozenset([(AMOCRM, True)]),
            run,
            on_the_wire=True,
            variants=self.rules.faults.get("send", ()),
            presentation=presented,
        )
        return httpx.Response(reply.status, content=reply.body)

    def _arrive(self, presented: Presentation, fields: dict[str, str], host: str, variant: str) -> Any:
        judge, now = self.judge, self.now
        if variant == "unconnected":
            judge.arrived(presented, "failed", None)
            raise httpx.ConnectError("example: no connection")
        if variant in {"503", "429"}:
            judge.arrived(presented, "failed", None)
            reply = amocrm.UNAVAILABLE if variant == "503" else amocrm.TOO_MANY
            return _Next("answer", partial(self._answer, presented, reply))
        judge.arriving(presented)
        if fields["grant_type"] == "refresh_token":
            reply, pair = self.amocrm.refresh(fields["refresh_token"], host, presented.name, now)
        else:
            reply, pair = self.amocrm.exchange(fields["code"], host, presented.name, now)
        outcome = "issued" if pair is not None else "elsewhere" if reply.status in {400, 404} else "refused"
        judge.arrived(presented, outcome, pair)
        if variant == "lost":
            judge.lose(presented)
            return _Next("answer", _raise_read_error)
        if variant == "503*":
            judge.lose(presented)
            reply = amocrm.UNAVAILABLE
        return _Next("answer", partial(self._answer, presented, reply))

    def _answer(self, presented: Presentation, reply: amocrm.Reply, _variant: str) -> amocrm.Reply:
        self.judge.answered(presented)
        return reply

    async def _looked_up(self, process: Process, request: httpx.Request) -> httpx.Response:
        token = request.headers.get("x-refresh-token", "")

        def run(_variant: str) -> Any:
            reply = self.amocrm.look_up(token) if token else amocrm.NOT_FOUND
            return _Next("answer", lambda _variant: reply)

        reply = await self.gate("look_up", frozenset([(AMOCRM, False)]), run)
        return httpx.Response(reply.status, content=reply.body)

    # what can happen next

    def actions(self) -> list[Action]:
        """Return everything that can happen now, in an order that depends on the state only."""
        self._wake()
        found: list[Action] = []
        busy: set[str] = set()
        for number, actor in enumerate(self.waiting):
            touches = self._touches_first(actor)
            label = f"{actor.process}:{actor.kind}"
            if not any(action.label == label for action in found):
                found.append(Action(label, actor.process, touches, partial(self._begin, number)))
            busy.add(actor.process)
        taken: dict[str, int] = {}
        for gate in self.open_gates():
            name = gate.process.name
            count = taken[f"{name}:{gate.op}"] = taken.get(f"{name}:{gate.op}", 0) + 1
            label = f"{name}:{gate.op}" if count == 1 else f"{name}:{gate.op}.{count}"
            found.append(Action(label, name, gate.touches, partial(self.release, gate, "", label)))
            busy.add(name)
            if self.faults and gate.process.alive and not gate.future.done():
                touches = gate.touches | {(FAULTS, True)}
                found.extend(
                    Action(f"{label}/{variant}", name, touches, partial(self.release, gate, variant, label))
                    for variant in gate.variants
                )
        found += self._timeouts()
        if not found:
            return self._forced()
        if self.crashes:
            found += [
                Action(f"{name}:crash", name, frozenset([(CRASHES, True), (AMOCRM, False)]), partial(self._crash, name))
                for name in self.rules.crashes
                if name in busy and self.processes[name].alive and self.processes[name].history
            ]
        found += self._cancels()
        found += [
            Action(f"time+{seconds:g}", "", frozenset(), partial(self._jump, number))
            for number, seconds in enumerate(self.jumps)
            if seconds not in self.jumps[:number]
        ]
        return found

    def open_gates(self) -> list[Gate]:
        self.gates = [
            gate
            for gate in self.gates
            if (gate.process.alive and not gate.future.done()) or (gate.on_the_wire and self.rules.orphans)
        ]
        return self.gates

    def _timeouts(self) -> list[Action]:
        found: list[Action] = []
        self.loop.timers = [timer for timer in self.loop.timers if not timer.gone]
        taken: dict[str, int] = {}
        for timer in self.loop.timers:
            process = timer.context[PROCESS]
            if process.alive and timer.due <= process.monotonic():
                count = taken[process.name] = taken.get(process.name, 0) + 1
                label = f"{process.name}:timeout" + ("" if count == 1 else f".{count}")
                touches = frozenset([(AMOCRM, False)])
                found.append(Action(label, process.name, touches, partial(self._fire, timer, process, label)))
        return found

    def _forced(self) -> list[Action]:
        """Nothing can move: time passes until a timer ends, if anybody waits for one."""
        if all(task.done() for process, _call, task in self.tasks if process.alive) and not self._under_way():
            return []
        ends = [timer.due - timer.context[PROCESS].ahead for timer in self.loop.timers if timer.context[PROCESS].alive]
        if self.pollers:
            ends.append(self.now + LEASE + 1)
        if not ends:
            return []

        def wait() -> None:
            self.now = max(self.now, min(ends))

        return [Action("wait", "", frozenset(), wait)]

    def _under_way(self) -> bool:
        return any(process.alive and process.service._mine for process in self.processes.values())

    def _cancels(self) -> list[Action]:
        if not self.cancels:
            return []
        found: list[Action] = []
        for process, call, task in self.tasks:
            if call.actor.process not in self.rules.cancels or task.done() or not process.alive:
                continue
            label = f"{process.name}:cancel"
            touches = frozenset([(CANCELS, True), (AMOCRM, False)])
            found.append(Action(label, process.name, touches, partial(self._cancel, process, task, label)))
            for gate in self.gates:
                if gate.task is task:
                    after = partial(self._cancel_after, gate, process, task, f"{label}*")
                    found.append(Action(f"{label}*", process.name, touches | gate.touches, after))
        return found

    # doing it

    def _begin(self, number: int) -> None:
        actor = self.waiting.pop(number)
        process = self.processes[actor.process]
        if not process.alive:
            return
        self.begin(actor)
        # a caller who has not yet asked for anything is one who has not yet begun
        gate = next((gate for gate in reversed(self.gates) if gate.process is process), None)
        if gate is not None and not gate.on_the_wire and not process.shared:
            self.release(gate, "", f"{process.name}:{gate.op}")

    def begin(self, actor: Actor) -> Call:
        """Let an actor make its call."""
        process = self.processes[actor.process]
        process.sees("begin", actor.kind)
        call = self.judge.begin(actor)
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        task = self.loop.create_task(self._called(process, call), context=context)
        self.tasks.append((process, call, task))
        self.loop.drain()
        return call

    async def _called(self, process: Process, call: Call) -> None:
        try:
            kind, _, more = call.actor.kind.partition(" ")
            outcome: Any = await CALLS[kind](process.service, call.actor.user, more)
            if isinstance(outcome, str) and self.rules.lenient_until == "access":
                outcome = await self._used(process.service, call.actor.user, outcome)
        except asyncio.CancelledError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - judged
            outcome = error
        self.judge.ended(process, call, outcome)

    async def _used(self, service: Any, user: str, token: str) -> str:
        """Call the API with the token, and once more with another if it answers 401."""
        for _ in range(2):
            touches = frozenset([(AMOCRM, True)])
            if await self.gate("api", touches, partial(self._accepts, token)):
                break
            token = await service.access_token(user, rejected=token)
        return token

    def _accepts(self, token: str, _variant: str) -> bool:
        return self.amocrm.accepts(token, self.now)

    def release(self, gate: Gate, variant: str, label: str) -> None:
        self.gates.remove(gate)
        process, future = gate.process, gate.future
        self.faults -= bool(variant)
        lost = not process.alive or future.done()
        try:
            result = gate.run(variant)
        except Exception as error:  # noqa: BLE001 - handed to who waits
            if not lost:
                process.sees(label + variant, type(error).__name__)
                future.set_exception(error)
                self.loop.drain()
            return
        if lost:
            return
        if isinstance(result, _Next):
            process.sees(label + variant, "")
            self.gates.append(
                Gate(process, gate.task, result.op, frozenset(), result.run, future, presentation=gate.presentation)
            )
            return
        process.sees(label + variant, observed(result))
        future.set_result(result)
        self.loop.drain()

    def _fire(self, timer: Handle, process: Process, label: str) -> None:
        process.sees(label, "")
        self.loop.fire(timer)
        self._note_given_up(process)

    def _note_given_up(self, process: Process) -> None:
        for presented in self.judge.presentations:
            if presented.process is process and not presented.answered and not self._expects(presented):
                presented.given_up = True
                self.judge.trouble = True

    def _expects(self, presented: Presentation) -> bool:
        return any(gate.presentation is presented and not gate.future.done() for gate in self.gates)

    def _jump(self, number: int) -> None:
        self.pass_time(self.jumps.pop(number))

    def pass_time(self, seconds: float) -> None:
        """Let time pass; whoever stands at a gate is stopped meanwhile."""
        self.now += seconds
        self.judge.late = True

    def _crash(self, name: str) -> None:
        self.crashes -= 1
        self.crash(self.processes[name])

    def crash(self, process: Process) -> None:
        """The process never runs again; a request on the wire may still arrive."""
        process.alive = False
        process.history = hash((process.name, "crashed"))
        self.waiting = [actor for actor in self.waiting if actor.process != process.name]
        for presented in self.judge.presentations:
            if presented.process is process and not presented.committed:
                presented.given_up = True
        self.judge.crashed(process)

    def _cancel(self, process: Process, task: Any, label: str) -> None:
        self.cancels -= 1
        self.cancel(process, task, label)

    def cancel(self, process: Process, task: Any, label: str) -> None:
        """Cancel one caller."""
        process.sees(label, "")
        task.cancel()
        self.loop.drain()
        self._note_given_up(process)

    def _cancel_after(self, gate: Gate, process: Process, task: Any, label: str) -> None:
        self.gates.remove(gate)
        gate.run("")
        self._cancel(process, task, label)

    # the state

    def do(self, label: str) -> None:
        """Let the action of this name happen."""
        self._wake()
        taken = 0
        for gate in self.open_gates():
            taken += label.startswith(f"{gate.process.name}:{gate.op}")
            if label == f"{gate.process.name}:{gate.op}" and taken == 1:
                self.release(gate, "", label)
                return
        for action in self.actions():
            if action.label == label:
                action.do()
                return
        msg = f"{label} cannot happen here; there is {[action.label for action in self.actions()]}"
        raise LookupError(msg)

    def key(self) -> int:
        """A hash of everything that what follows can depend on.

        A process is deterministic: where it stands is given by what it has seen, in its order.
        """
        version = self.version()
        processes = tuple(
            (process.name, process.history, process.saw == version) for process in self.processes.values()
        )
        orphans = tuple(
            sorted(
                gate.presentation.name
                for gate in self.gates
                if gate.presentation and (gate.future.done() or not gate.process.alive)
            )
        )
        left = (self.now, tuple(self.jumps), self.faults, self.crashes, self.cancels, len(self.waiting))
        return hash((processes, orphans, left, self.shared_key(), self.judge.key()))

    def shared_key(self) -> tuple[object, ...]:
        rows = tuple((user, row_key(row)) for user, row in sorted(self.store._rows.items()))
        states = frozenset(self.store._states.values())
        return (rows, states, self.amocrm.key())

    def close(self) -> None:
        """Throw everything away without a word."""
        for process in self.processes.values():
            process.service._mine.clear()
            process.service._scope.flights = None
            process.service._scope.unsaved.clear()
        self.loop.abandon()
        self.gates.clear()


@dataclass(slots=True)
class _Next:
    """The effect is there; ``op`` is what its process waits for now."""

    op: str
    run: Callable[[str], Any]


def _raise_read_error(_variant: str) -> Any:
    raise httpx.ReadError("example: the connection was cut")


def _user_of(args: Any) -> str:
    if not args:
        return ""
    return args[0] if isinstance(args[0], str) else args[0].user_id


def _fields(request: httpx.Request) -> dict[str, str]:
    return json.loads(request.content)


def drive(coroutine: Any) -> Any:
    """Run a coroutine of the in-memory store: it never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the store in memory waited for something")


def row_key(row: UserToken) -> tuple[object, ...]:
    """A row as what can be compared: the previous token may be a callable."""
    previous = row.previous_refresh_token
    pair = row.pair
    return (
        pair.access_token,
        pair.domain,
        row.revision,
        row.code_hash,
        previous() if callable(previous) else previous,
        row.in_doubt,
        row.pair_saved_at,
        row.lease_holder,
        row.lease_until,
        row.failures,
        row.retry_at,
        row.reauth_reason,
        row.rejected_at,
    )


def observed(result: Any) -> object:
    """What a process learns from a result."""
    if isinstance(result, UserToken):
        return row_key(result)
    if isinstance(result, amocrm.Reply):
        return result.body
    return tuple(result) if isinstance(result, list) else result
