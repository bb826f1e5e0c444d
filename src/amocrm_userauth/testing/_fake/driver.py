"""From a request to its answer: who asks, which failure was arranged, what amoCRM says, how it is sent."""

from dataclasses import dataclass
from typing import Protocol

from amocrm_userauth.testing._fake import oauth
from amocrm_userauth.testing._fake.api import API
from amocrm_userauth.testing._fake.books import LoggedRequest, Presentation
from amocrm_userauth.testing._fake.consent import consent_page
from amocrm_userauth.testing._fake.faults import Fault
from amocrm_userauth.testing._fake.replies import Ask, Reply, api_problem, canned
from amocrm_userauth.testing._fake.tokens import fingerprint
from amocrm_userauth.testing._fake.world import World

__all__ = ["Driver", "Line"]

_TOKEN = "/oauth2/access_token"
_LOOKUPS = {"/oauth2/account/current/subdomain", "/oauth2/account/subdomain"}


class Line(Protocol):
    """What brings requests and takes answers: a connection (``Wire``), or one ASGI exchange."""

    async def asked(self) -> Ask | None:
        """Return the next request, ``None`` when there is no more."""
        ...

    async def answer(self, reply: Reply) -> bool:
        """Send an answer; say whether somebody was there to read it."""
        ...

    async def drip(self, reply: Reply, interval: float) -> bool:
        """Send an answer, its body a byte at a time."""
        ...

    async def cut_off(self, reply: Reply) -> None:
        """Send the first half of an answer and end the connection."""

    def hang_up(self) -> None:
        """End the connection without another byte."""

    def is_open(self) -> bool:
        """Whether another request may come."""
        ...


@dataclass(slots=True)
class _Call:
    """One request on its way through the fake."""

    ask: Ask
    entry: LoggedRequest
    fields: dict[str, str]
    fault: Fault | None = None
    presentation: Presentation | None = None


class Driver:
    """Answers the requests of one world."""

    def __init__(self, world: World) -> None:
        """Serve ``world``."""
        self._world = world
        self._api = API(world)

    async def serve(self, wire: Line) -> None:
        """Answer every request of one connection."""
        while (ask := await wire.asked()) is not None:
            call = self._open(ask)
            if call.fault is not None:
                await call.fault.pause("before")
            reply = self._reply(call)
            if call.fault is not None:
                await call.fault.pause("after")
            if call.fault is None or call.fault.answers:
                # in the books before the caller has it: a test may look as soon as it has
                self._close(call, reply, sent=True)
            sent = await _send(wire, reply, call.fault)
            self._close(call, reply, sent=sent)
            if not wire.is_open():
                return

    def _open(self, ask: Ask) -> _Call:
        world = self._world
        with world.lock:
            on = _kind(ask)
            fields = oauth.fields_of(ask) if on == "token" else {}
            entry = LoggedRequest(ask.method, ask.path, ask.host, self._user(ask, fields), world.now())
            world.books.requests.append(entry)
            call = _Call(ask, entry, fields)
            if on == "token":
                call.presentation = oauth.opened_with(world, ask, fields)
            if on != "consent":
                call.fault = world.faults.take(entry.user, on)
            return call

    def _user(self, ask: Ask, fields: dict[str, str]) -> str:
        if fields:
            return oauth.owner(self._world, fields)
        presented = ask.headers.get("x-refresh-token", "")
        pair = self._world.by_access.get(ask.bearer) or self._world.by_refresh.get(presented)
        return "" if pair is None else pair.grant.person.name

    def _reply(self, call: _Call) -> Reply:
        with self._world.lock:
            arranged = self._arranged(call)
            if arranged is not None:
                return arranged
            reply = self._work(call)
            if call.presentation is not None and reply.status != 429:  # noqa: PLR2004 - the limit: not looked at
                call.presentation.outcome = "issued" if reply.status == 200 else "refused"  # noqa: PLR2004 - OK
                call.presentation.hint = reply.hint
                if call.presentation.outcome == "issued":
                    call.presentation.issued = fingerprint(next(reversed(self._world.by_refresh)))
            if call.fault is not None and call.fault.kind == "truncated":
                reply.body = reply.body[: len(reply.body) // 2]
            return reply

    def _arranged(self, call: _Call) -> Reply | None:
        """Return the answer of a failure that keeps amoCRM from doing its work."""
        outage, fault = self._world.outage_status, call.fault
        if outage is not None:
            return canned(outage, "html", call.ask, 0)
        if fault is None or fault.works:
            return None
        if fault.body is not None:
            return Reply(fault.status, fault.body, fault.content_type, fault.headers)
        reply = canned(fault.status, fault.kind, call.ask, fault.retry_after)
        reply.headers = fault.headers
        return reply

    def _work(self, call: _Call) -> Reply:
        world, ask = self._world, call.ask
        if ask.path == _TOKEN:
            return self._token(call)
        if ask.path.rstrip("/") == "/oauth" and ask.method in {"GET", "POST"}:
            return consent_page(world, ask)
        if ask.path == "/oauth2/account/current/subdomain":
            return oauth.look_up_by_refresh(world, ask)
        if ask.path == "/oauth2/account/subdomain":
            return oauth.look_up_by_access(world, ask)
        return self._api.answer(ask)

    def _token(self, call: _Call) -> Reply:
        if call.ask.method != "POST":
            return api_problem(404, call.ask.host, call.ask.path)
        limited = self._world.settings.rate_limit_tokens
        if limited and self._api.too_many(call.fields.get("client_id", call.ask.host)):
            return api_problem(429, retry_after=1)
        return oauth.token(self._world, call.ask, call.fields)

    def _close(self, call: _Call, reply: Reply, *, sent: bool) -> None:
        with self._world.lock:
            call.entry.status = reply.status if sent else None
            if call.presentation is not None:
                call.presentation.status = reply.status
                call.presentation.answered = sent
                call.presentation.answered_at = self._world.now() if sent else None


def _kind(ask: Ask) -> str:
    if ask.path == _TOKEN and ask.method == "POST":
        return "token"
    if ask.path in _LOOKUPS:
        return "lookup"
    return "consent" if ask.path.rstrip("/") == "/oauth" else "api"


async def _send(wire: Line, reply: Reply, fault: Fault | None) -> bool:
    if fault is None:
        return await wire.answer(reply)
    if fault.drops:
        wire.hang_up()
        return False
    if fault.kind == "cut":
        await wire.cut_off(reply)
        return False
    if fault.kind == "drip":
        return await wire.drip(reply, fault.seconds)
    return await wire.answer(reply)
