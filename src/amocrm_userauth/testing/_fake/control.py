"""The verbs over HTTP, for other processes. They have a port of their own, so no path of amoCRM's is taken."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from amocrm_userauth.testing._fake.replies import Ask, Reply, json_reply
from amocrm_userauth.testing._fake.wire import Wire

__all__ = ["Backend", "Control", "Remote"]

_TIMEOUT = 30


class Backend(Protocol):
    """Where the verbs of a fake are run."""

    @property
    def url(self) -> str:
        """The address of the fake."""
        ...

    @property
    def control_url(self) -> str:
        """The address of its control port."""
        ...

    def run(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Run one verb and return its result."""
        ...


class Control:
    """The server's end: ``POST /<verb>`` with the arguments as JSON."""

    def __init__(self, run: Callable[[str, dict[str, Any]], Awaitable[Any]], url: Callable[[], str]) -> None:
        """Let ``run`` run the verbs; ``url`` tells where the fake itself is."""
        self._run = run
        self._url = url

    async def serve(self, wire: Wire) -> None:
        """Answer every request of one connection."""
        while (ask := await wire.asked()) is not None:
            await wire.answer(await self._reply(ask))
            if not wire.is_open():
                return

    async def _reply(self, ask: Ask) -> Reply:
        if ask.method == "GET":
            return json_reply({"url": self._url()})
        if "application/json" not in ask.headers.get("content-type", ""):
            return json_reply({"error": "TypeError", "message": "send application/json"}, 415)
        try:
            return json_reply({"result": await self._run(ask.path.strip("/"), json.loads(ask.body))})
        except Exception as failure:  # noqa: BLE001 - raised again at the other end
            return json_reply({"error": type(failure).__name__, "message": str(failure)}, 400)


class Remote:
    """Runs the verbs in the process that serves ``control_url``."""

    def __init__(self, control_url: str) -> None:
        """Ask the fake's control port where the fake is."""
        self._opener = build_opener(ProxyHandler({}))
        self.control_url = control_url.rstrip("/")
        self.url = str(self._read(Request(self.control_url))["url"])  # noqa: S310 - the caller's own loopback address

    def run(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Run one verb and return its result; a failure there is a ``RuntimeError`` here."""
        body = json.dumps(arguments).encode()
        headers = {"content-type": "application/json"}
        answer = self._read(Request(f"{self.control_url}/{verb}", body, headers))  # noqa: S310 - as above
        return answer["result"]

    def _read(self, request: Request) -> dict[str, Any]:
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as response:
                return cast("dict[str, Any]", json.load(response))
        except HTTPError as failure:
            with failure:
                told = json.load(failure)
        msg = f"{told['error']}: {told['message']}"
        raise RuntimeError(msg)
