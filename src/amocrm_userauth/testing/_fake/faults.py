"""Failures that a test arranges for a user's next requests."""

import asyncio
import threading
from dataclasses import dataclass, field

__all__ = ["Fault", "Faults", "HeldRequest"]

_LOOKS_AT_THE_TOKEN = frozenset({"pause", "truncated", "cut", "drop", "drip"})


class HeldRequest:
    """A place where one request waits. ``arrived`` is set once it is there; :meth:`release` lets it go on."""

    def __init__(self) -> None:
        """Make a place that nobody has come to."""
        self.arrived: threading.Event = threading.Event()
        self.drop: bool = False
        self._lock = threading.Lock()
        self._open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def wait(self) -> None:
        """Wait for :meth:`release`, on the fake's own event loop."""
        event = asyncio.Event()
        with self._lock:
            if self._open:
                event.set()
            self._waiting.append((asyncio.get_running_loop(), event))
        self.arrived.set()
        await event.wait()

    def release(self, *, drop: bool = False) -> None:
        """Let the request go on, from any thread; with ``drop`` its answer is never sent."""
        with self._lock:
            self.drop = self.drop or drop
            self._open = True
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)


@dataclass(slots=True)
class Fault:
    """One arranged failure. ``times`` counts down to nothing."""

    kind: str
    user: str | None
    on: str = "token"
    at: str = "before"
    times: int = 1
    status: int = 500
    retry_after: int = 300
    body: bytes | None = None
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float = 0
    hold: HeldRequest | None = field(default=None, repr=False)

    @property
    def works(self) -> bool:
        """Whether amoCRM does its work in spite of this failure."""
        return self.kind in _LOOKS_AT_THE_TOKEN

    async def pause(self, at: str) -> None:
        """Wait, if this failure waits at this point."""
        if self.at == at and self.kind == "pause":
            await asyncio.sleep(self.seconds)
            if self.hold is not None:
                await self.hold.wait()

    @property
    def drops(self) -> bool:
        """Whether the connection ends without an answer."""
        return self.kind in {"drop", "silence"} or (self.hold is not None and self.hold.drop)

    @property
    def answers(self) -> bool:
        """Whether a whole answer is sent at once."""
        return not self.drops and self.kind not in {"cut", "drip"}


class Faults:
    """The arranged failures, first come first served; a request meets at most one. Used under the world's lock."""

    def __init__(self) -> None:
        """Start without any."""
        self._waiting: list[Fault] = []
        self._held: list[HeldRequest] = []

    def add(self, fault: Fault) -> None:
        """Arrange one more."""
        self._waiting.append(fault)
        if fault.hold is not None:
            self._held.append(fault.hold)

    def take(self, user: str, on: str) -> Fault | None:
        """Return the failure that this request meets, and count it down."""
        for fault in self._waiting:
            if fault.user in {None, user} and fault.on in {on, "any"}:
                fault.times -= 1
                if fault.times <= 0:
                    self._waiting.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        """Forget what was arranged and let every held request go on."""
        self._waiting.clear()
        held, self._held = self._held, []
        for hold in held:
            hold.release()
