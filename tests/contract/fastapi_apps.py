"""What the tests of the FastAPI adapter share."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from amocrm_userauth import (
    Integration,
)
from amocrm_userauth.fastapi import amocrm_router

INTEGRATION = Integration("example-id", "example-client-secret", "https://backend.example/callback")


OFF = {"connected": False, "hasTokens": False, "domain": "", "accountId": ""}


@contextmanager
def serving(*routers: tuple[str, Any]) -> Iterator[TestClient]:
    """Give a client of an application with these routers at these prefixes."""
    app = FastAPI()
    for prefix, router in routers:
        app.include_router(router, prefix=prefix)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def status(auth: Any, current_user: Callable[..., Any] = lambda: "anna", **more: Any) -> httpx.Response:
    """Ask for the status of a user in an application of its own."""
    with serving(("/amo", amocrm_router(auth, current_user=current_user, **more))) as client:
        return client.get("/amo/status")


@contextmanager
def served(server: uvicorn.Server) -> Iterator[str]:
    """Run a server in a thread, and give its address."""
    with socket.socket() as listener, ThreadPoolExecutor(1) as pool:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # so that whoever comes before the server waits for it
        done = pool.submit(server.run, [listener])
        host, port = listener.getsockname()
        try:
            yield f"http://{host}:{port}"
        finally:
            server.should_exit = True
            done.result()
