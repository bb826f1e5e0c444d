"""An event loop without a clock and without input: it runs what is ready, and time stands until somebody moves it."""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

_ENDLESS = 20_000


class Handle:
    """One callback, or (with ``due``) one timer."""

    __slots__ = ("args", "callback", "context", "due", "gone")

    def __init__(self, callback: Callable[..., Any], args: Any, context: Any, due: float = 0.0) -> None:
        self.callback = callback
        self.args = args
        self.context = contextvars.copy_context() if context is None else context
        self.due = due
        self.gone = False

    def cancel(self) -> None:
        self.gone = True

    def run(self) -> None:
        self.context.run(self.callback, *self.args)


class Loop(asyncio.AbstractEventLoop):
    """Runs real ``asyncio`` tasks; ``time()`` is what ``clock`` says, and timers fire only by :meth:`fire`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ready: deque[Handle] = deque()
        self.timers: list[Handle] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.complaints: list[dict[str, Any]] = []

    def drain(self) -> None:
        """Run until nothing is ready."""
        ready = self._ready
        asyncio._set_running_loop(self)
        try:
            for _ in range(_ENDLESS):
                if not ready:
                    return
                handle = ready.popleft()
                if not handle.gone:
                    handle.context.run(handle.callback, *handle.args)
        finally:
            asyncio._set_running_loop(None)
        raise AssertionError("a process runs in circles without waiting for anything")

    def fire(self, timer: Handle) -> None:
        """Let one timer end, and run what follows."""
        self.timers.remove(timer)
        self._ready.append(timer)
        self.drain()

    def time(self) -> float:
        return self._clock()

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Handle:
        handle = Handle(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Handle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Handle:
        handle = Handle(callback, args, context, when)
        self.timers.append(handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: Any = None, context: Any = None) -> Any:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(context)

    def abandon(self) -> None:
        """End every task that is left; what it does on its way out reaches nobody."""
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False
                coro: Any = task.get_coro()
                try:
                    coro.close()
                except (RuntimeError, ValueError):
                    continue
        self.tasks.clear()
        self.timers.clear()
        self._ready.clear()
