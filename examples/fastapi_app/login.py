"""A stand-in for the login of a real application. It asks for no password: replace it by yours.

All that the amoCRM endpoints need of it is :func:`current_user`: it gives the logged-in user or ``None``.
"""

import secrets
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field

router = APIRouter(tags=["login"])

Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


@dataclass(frozen=True)
class User:
    """A user of this application."""

    id: str


class Login(BaseModel):
    """Who wants to log in."""

    name: str = Field(min_length=1, max_length=100)


@router.post("/login")
async def log_in(login: Login, request: Request) -> dict[str, str]:
    """Hand out a token for this name, good until the process ends."""
    token = secrets.token_urlsafe(32)
    request.app.state.sessions[token] = User(login.name)
    return {"token": token}


async def current_user(bearer: Bearer, request: Request) -> User | None:
    """Return the logged-in user."""
    return None if bearer is None else request.app.state.sessions.get(bearer.credentials)
