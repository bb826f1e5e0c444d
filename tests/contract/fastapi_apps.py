"""What the tests of the FastAPI adapter share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
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
