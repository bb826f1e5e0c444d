"""The example application's own login: two users, and sessions that are signed, not stored."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header

__all__ = ["USERS", "Sessions", "User"]


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who is logged in at the application."""

    id: str
    name: str


USERS = {user.id: user for user in (User("maria", "Maria Petrova"), User("ivan", "Ivan Sokolov"))}


class Sessions:
    """Makes and checks bearer tokens of the application. They end with the process."""

    def __init__(self) -> None:
        """Choose a key."""
        self._key = secrets.token_bytes(32)

    def open(self, user: User) -> str:
        """Return a session for ``user``."""
        return f"{user.id}.{self._signature(user.id)}"

    def user_of(self, authorization: str) -> User | None:
        """Return whose session an ``Authorization`` header carries, ``None`` if it carries none."""
        user_id, _, signature = authorization.removeprefix("Bearer ").partition(".")
        user = USERS.get(user_id)
        if user is None or not hmac.compare_digest(signature.encode(), self._signature(user_id).encode()):
            return None
        return user

    def current_user(self, authorization: Annotated[str, Header()] = "") -> User | None:
        """Return the logged-in user: the dependency that the library's router is given."""
        return self.user_of(authorization)

    def _signature(self, user_id: str) -> str:
        return hmac.new(self._key, user_id.encode(), hashlib.sha256).hexdigest()
