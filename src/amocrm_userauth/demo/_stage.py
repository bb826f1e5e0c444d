"""The demonstration's own endpoints: the page, what happens inside, and the buttons that make things happen."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import httpx
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from amocrm_userauth.demo._backend import Parts, service
from amocrm_userauth.demo._row import Field, stored_row
from amocrm_userauth.demo._users import User
from amocrm_userauth.testing import FakeAmoCRM

__all__ = ["A_DAY", "TABS", "add_stage"]

A_DAY = 86_400 + 1
TABS = 20
_STATIC = Path(__file__).parent / "static"
_HEADERS = {
    # The deep link ends here: its query must neither be stored nor sent on.
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


class Inside(BaseModel):
    """What happens inside. ``exchanges`` and ``refreshes`` are the calls of amoCRM's token endpoint."""

    down: bool
    exchanges: int
    refreshes: int
    row: list[Field]
    log: list[dict[str, object]]


class Tabs(BaseModel):
    """What came of asking from many tabs at once."""

    asked: int
    answered: int
    refreshes: int
    different_tokens: int


class _Switch:
    """Whether the fake amoCRM is down."""

    def __init__(self, fake: FakeAmoCRM) -> None:
        self._fake = fake
        self.is_down: bool = False

    def turn(self, *, down: bool) -> None:
        (self._fake.down if down else self._fake.up)()
        self.is_down = down


def add_stage(app: FastAPI, parts: Parts, origin: str) -> None:
    """Add the page at ``/`` and ``/phone``, its files, and ``/demo/…``."""
    switch = _Switch(parts.fake)
    router = APIRouter(include_in_schema=False)
    for path in ("/", "/phone"):
        router.add_api_route(path, _page, methods=["GET"])
    _add_inside(router, parts, switch)
    _add_buttons(router, parts, switch)
    _add_tabs(router, parts, origin)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC))


async def _page() -> Response:
    return FileResponse(_STATIC / "index.html", headers=_HEADERS)


def _player(parts: Parts) -> Callable[..., User]:
    def player(authorization: Annotated[str, Header()] = "") -> User:
        # Pages of other sites can post to this machine too, but they have no session.
        user = parts.sessions.user_of(authorization)
        if user is None:
            raise HTTPException(401, "log in on the phone first")
        return user

    return player


def _add_inside(router: APIRouter, parts: Parts, switch: _Switch) -> None:
    @router.get("/demo/inside")
    async def inside(
        request: Request, response: Response, user: Annotated[User | None, Depends(parts.sessions.current_user)]
    ) -> Inside:
        response.headers["Cache-Control"] = "no-store"
        state = request.app.state
        row: list[Field] = []
        if user is not None:
            row = await stored_row(state.amocrm, state.engine, state.table, user.id, parts.fake.now())
        return Inside(
            down=switch.is_down,
            exchanges=parts.fake.token_calls(grant_type="authorization_code"),
            refreshes=parts.fake.token_calls(grant_type="refresh_token"),
            row=row,
            log=parts.log.view(),
        )


def _add_buttons(router: APIRouter, parts: Parts, switch: _Switch) -> None:
    player, fake, log = _player(parts), parts.fake, parts.log

    @router.post("/demo/day")
    def day(_user: Annotated[User, Depends(player)]) -> None:
        fake.advance(A_DAY)
        log.add("you", f"Day {log.day()} begins: every access token has expired")

    @router.post("/demo/down")
    def down(_user: Annotated[User, Depends(player)]) -> None:
        switch.turn(down=True)
        log.add("you", "amoCRM is down", tone="bad")

    @router.post("/demo/up")
    def up(_user: Annotated[User, Depends(player)]) -> None:
        switch.turn(down=False)
        log.add("you", "amoCRM is back", tone="good")

    @router.post("/demo/revoke")
    async def revoke(request: Request, user: Annotated[User, Depends(player)]) -> None:
        status = await service(request).status(user.id)
        for login in {seen.user for seen in fake.presentations()} - {""}:
            if str(fake.user_id(login)) == status.amocrm_user_id:
                fake.revoke(login)
                log.add("you", f"An administrator at amoCRM ends {login}'s access", tone="bad")


def _add_tabs(router: APIRouter, parts: Parts, origin: str) -> None:
    @router.post("/demo/tabs")
    async def tabs(
        _user: Annotated[User, Depends(_player(parts))], authorization: Annotated[str, Header()] = ""
    ) -> Tabs:
        parts.fake.advance(A_DAY)
        parts.log.add("you", f"Day {parts.log.day()} begins, and {TABS} tabs ask for the token at once")
        before = parts.fake.token_calls(grant_type="refresh_token")
        headers = {"Authorization": authorization}
        async with httpx.AsyncClient(base_url=origin, headers=headers, trust_env=False, timeout=60) as browser:
            answers = await asyncio.gather(*(browser.get("/api/token-fingerprint") for _ in range(TABS)))
        tokens = [answer.json()["fingerprint"] for answer in answers if answer.is_success]
        refreshes = parts.fake.token_calls(grant_type="refresh_token") - before
        return Tabs(asked=TABS, answered=len(tokens), refreshes=refreshes, different_tokens=len(set(tokens)))
