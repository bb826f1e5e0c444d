"""What is written for a token, and what is read: tokens are encrypted and decrypted here, as late as can be."""

from collections.abc import Callable, Sequence
from typing import Any, final
from uuid import uuid4

from amocrm_userauth._core.model import Failure, StateRecord, TokenPair, UserToken
from amocrm_userauth.crypto import TAG, TokenCipher, seal, unseal

__all__ = ["PLAIN", "STATE", "TOKENS", "NewToken", "failure_values", "record_of", "rewritten", "token_of"]

PLAIN = (
    "user_id",
    "token_type",
    "expires_at",
    "account_id",
    "amocrm_user_id",
    "domain",
    "api_domain",
    "scopes",
    "revision",
    "client_id",
    "code_hash",
    "in_doubt",
    "pair_saved_at",
    "lease_holder",
    "lease_until",
    "failures",
    "retry_at",
    "failure",
    "reauth_reason",
    "reauth_at",
    "rejected_at",
)
"""The columns that a row is read with, in the order of :func:`token_of`; the tokens come after them."""

TOKENS = ("access_token", "refresh_token", "previous_refresh_token")

STATE = ("nonce_hash", "code_hash", "user_hash", "outcome", "claimant", "claim_until", "expires_at")

_OF_PAIR = ("token_type", "expires_at", "account_id", "amocrm_user_id", "domain", "api_domain")
_OF_ROW = PLAIN[8:]
_COMMITTED = (*_OF_PAIR, "scopes", "revision", "client_id", "pair_saved_at", "access_token", "refresh_token")


@final
class NewToken:
    """The values that write one token: made by the call that sends them, so that no frame holds a plain token."""

    __slots__ = ("_cipher", "_token", "user_id")

    def __init__(self, token: UserToken, user_id: str, cipher: TokenCipher | None) -> None:
        """Take the token and the canonical form of its user's id."""
        self.user_id = user_id
        self._token = token
        self._cipher = cipher

    def replacing(self) -> dict[str, Any]:
        """Return what replaces a whole row."""
        token, pair = self._token, self._token.pair
        return {
            **{name: getattr(pair, name) for name in _OF_PAIR},
            **{name: getattr(token, name) for name in _OF_ROW},
            "scopes": " ".join(pair.scopes),
            "updated_at": token.pair_saved_at,
            "access_token": seal(self._cipher, pair.access_token, user_id=self.user_id, column="access_token"),
            "refresh_token": seal(self._cipher, pair.refresh_token, user_id=self.user_id, column="refresh_token"),
            "previous_refresh_token": self.previous(),
        }

    def inserted(self) -> dict[str, Any]:
        """Return what makes a row, but for its user."""
        return {**self.replacing(), "id": uuid4(), "created_at": self._token.pair_saved_at}

    def committed(self) -> dict[str, Any]:
        """Return what replaces the pair."""
        whole = self.replacing()
        return {**{name: whole[name] for name in _COMMITTED}, "updated_at": self._token.pair_saved_at}

    def previous(self) -> str | None:
        """Return what is stored of the token that was spent."""
        previous = self._token.previous_refresh_token
        if previous is None:
            return None
        column = "previous_refresh_token"
        return seal(self._cipher, _text(previous), user_id=self.user_id, column=column)


def rewritten(token: UserToken, cipher: TokenCipher | None) -> dict[str, Any]:
    """Return a row's tokens anew, with the cipher's current key."""
    whole = NewToken(token, token.user_id, cipher).replacing()
    return {name: whole[name] for name in TOKENS}


def failure_values(failure: Failure) -> dict[str, Any]:
    """Return what notes ``failure``, but for the doubt, which is never taken back."""
    values: dict[str, Any] = {name: getattr(failure, name) for name in ("failures", "retry_at", "failure")}
    if failure.reauth_reason is not None:
        values |= {"reauth_reason": failure.reauth_reason, "reauth_at": failure.reauth_at}
    return {**values, "lease_holder": None, "lease_until": None}


def _text(value: str | Callable[[], str]) -> str:
    return value if isinstance(value, str) else value()


@final
class _Sealed:
    """A stored token that is decrypted when it is called."""

    __slots__ = ("_cipher", "_column", "_stored", "_user_id")

    def __init__(self, stored: str, cipher: TokenCipher | None, user_id: str, column: str) -> None:
        self._stored = stored
        self._cipher = cipher
        self._user_id = user_id
        self._column = column

    def __call__(self) -> str:
        return unseal(self._cipher, str(self._stored), user_id=self._user_id, column=self._column)


def _late(stored: str, cipher: TokenCipher | None, user_id: str, column: str) -> "str | _Sealed":
    return _Sealed(stored, cipher, user_id, column) if stored.startswith(TAG) else str(stored)


def token_of(row: Sequence[Any], user_id: str, cipher: TokenCipher | None) -> UserToken:
    """Return what a row with the columns ``PLAIN`` (and perhaps ``TOKENS``) says."""
    (_, token_type, expires_at, account_id, amocrm_user_id, domain, api_domain, scopes, *rest) = row
    access, refresh, previous = rest[len(_OF_ROW) :] or ("", "", None)
    return UserToken(
        user_id=user_id,
        pair=TokenPair(
            access_token=_late(access, cipher, user_id, "access_token"),
            refresh_token=_late(refresh, cipher, user_id, "refresh_token"),
            expires_at=expires_at,
            token_type=token_type,
            account_id=account_id,
            amocrm_user_id=amocrm_user_id,
            domain=domain,
            api_domain=api_domain,
            scopes=tuple(scopes.split()),
        ),
        previous_refresh_token=previous and _late(previous, cipher, user_id, "previous_refresh_token"),
        **dict(zip(_OF_ROW, rest, strict=False)),
    )


def record_of(row: Sequence[Any]) -> StateRecord:
    """Return what a row with the columns ``STATE`` says."""
    return StateRecord(**dict(zip(STATE, row, strict=True)))
