"""Starts and stops the demonstration: the fake amoCRM and the backend, each on a free port of this machine."""

import asyncio
import socket
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from amocrm_userauth.demo._backend import MOUNT, Parts, example_backend
from amocrm_userauth.demo._log import Log, WatchedApp, WatchedTransport
from amocrm_userauth.demo._stage import add_stage
from amocrm_userauth.demo._users import USERS, Sessions
from amocrm_userauth.testing import FakeAmoCRM, async_http_transport

__all__ = ["Demo"]

_HOST = "127.0.0.1"
_BACKLOG = 128
_PATIENCE = 30.0


class Demo:
    """The running demonstration, for a ``with`` block: on the loopback interface, and in a temporary folder.

    ``url`` is the page's address, ``fake`` the amoCRM that it plays with, ``database`` the SQLite file.
    """

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._stack = ExitStack()
        # No limit of calls a second: twenty tabs would meet it.
        self.fake: FakeAmoCRM = FakeAmoCRM(rate_limit=None)
        self.url: str = ""
        self.database: Path = Path()

    def __enter__(self) -> Self:
        """Start, and return when both servers answer."""
        try:
            self._start(self._stack)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop both servers and delete the database."""
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="amocrm-userauth-demo-"))
        self.database = Path(folder) / "example.sqlite"
        stack.enter_context(self.fake)
        for user in USERS:
            self.fake.host(user)
        listener = stack.enter_context(socket.create_server((_HOST, 0), backlog=_BACKLOG))
        self.url = f"http://{_HOST}:{listener.getsockname()[1]}/"
        server = _Server(self._application(), listener)
        stack.callback(server.stop)
        server.wait_ready()

    def _application(self) -> FastAPI:
        origin, log, sessions = self.url.rstrip("/"), Log(self.fake), Sessions()
        parts = Parts(
            fake=self.fake,
            log=log,
            sessions=sessions,
            transport=WatchedTransport(async_http_transport(self.fake.url), log),
            integration=self.fake.integration(redirect_uri=f"{origin}{MOUNT}/callback"),
            database=str(self.database),
            deep_link=f"{origin}/phone",
        )
        app = example_backend(parts)
        add_stage(app, parts, origin)
        app.add_middleware(WatchedApp, log=log, user_of=lambda header: _name(sessions, header))
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[_HOST, "localhost"])
        return app


def _name(sessions: Sessions, header: str) -> str:
    user = sessions.user_of(header)
    return "" if user is None else user.id


class _Server(uvicorn.Server):
    """A web server in a thread. Its access log is off: it would print codes."""

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="on",
                loop="asyncio",
                http="h11",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=2,
            )
        )
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listener,), name="demo-backend", daemon=True)
        self._thread.start()

    def wait_ready(self) -> None:
        """Return when requests are answered."""
        if not self._ready.wait(_PATIENCE) or not self.started:
            msg = "the example backend did not start"
            raise RuntimeError(msg)

    def stop(self) -> None:
        """Stop serving and wait for the thread."""
        self.should_exit = True
        self._thread.join(_PATIENCE)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Note when it is done."""
        await super().startup(sockets)
        self._ready.set()

    def _run(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self.serve([listener]))
        finally:
            self._ready.set()
