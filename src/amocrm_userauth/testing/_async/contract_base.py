"""What the parts of the store suite share."""

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Protocol

from amocrm_userauth._async.ports import AsyncStateStore, AsyncTokenStore
from amocrm_userauth._core.model import TokenPair, UserToken

__all__ = ["NOW", "AsyncStore", "AsyncStoreSuite", "later", "plain", "some_pair", "some_token"]

NOW = datetime(2025, 3, 9, 12, 30, 15, 123456, tzinfo=UTC)
"""The time at which the tests take place. With microseconds: stores tend to lose them."""


class AsyncStore(AsyncTokenStore, AsyncStateStore, Protocol):
    """Both halves in one object, as the service takes it."""


class AsyncStoreSuite:
    """The hooks that a subclass may override."""

    def make_store(self) -> AbstractAsyncContextManager[AsyncStore] | AsyncStore:
        """Return a new, empty store, or a context manager that gives one."""
        raise NotImplementedError

    def user_id(self, name: str) -> str:
        """Return the id of the user that the tests call ``name``: other names, other ids."""
        return name


def later(seconds: float) -> datetime:
    """Return the time ``seconds`` after the tests' own."""
    return NOW + timedelta(seconds=seconds)


def some_pair(name: str = "one", **changes: object) -> TokenPair:
    """Return a pair with something in every field."""
    fields: dict[str, object] = {
        "access_token": f"example-access-{name}",
        "refresh_token": f"example-refresh-{name}",
        "expires_at": later(86_400),
        "token_type": "Bearer",
        "account_id": "31920194",
        "amocrm_user_id": "6789",
        "domain": "example.amocrm.ru",
        "api_domain": "api-b.amocrm.ru",
        "scopes": ("crm", "notifications"),
    }
    return TokenPair(**(fields | changes))  # type: ignore[arg-type]


def some_token(user_id: str, revision: str = "rev-1", /, **changes: object) -> UserToken:
    """Return a row as ``connect`` writes it."""
    fields: dict[str, object] = {
        "user_id": user_id,
        "pair": some_pair(revision),
        "revision": revision,
        "client_id": "0b1d9c7e-example",
        "code_hash": "5" * 64,
        "pair_saved_at": NOW,
    }
    return UserToken(**(fields | changes))  # type: ignore[arg-type]


def plain(token: UserToken | None) -> dict[str, object]:
    """Return every field of a row, with its tokens looked at, so that rows of all stores compare."""
    fields: dict[str, object] = {name: getattr(token, name, None) for name in UserToken.__slots__}
    previous = fields["previous_refresh_token"]
    return fields | {"previous_refresh_token": previous() if callable(previous) else previous}
