"""What is written for a token, and what is read: tokens are encrypted and decrypted here, as late as can be."""

from collections.abc import Callable, Sequence
from typing import Any, final
from uuid import uuid4

from amocrm_userauth._core.model import TokenPair, UserToken
from amocrm_userauth.crypto import TAG, TokenCipher, seal, unseal

__all__ = ["PLAIN", "TOKENS", "NewToken", "Rewritten", "token_of"]

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


@final
class NewToken:
    """The parameters that write one token: made by the call that sends them, so that no frame holds a plain token."""

    __slots__ = ("_cipher", "_extra", "_key", "_token", "user_id")

    def __init__(
        self, token: UserToken, user_id: str, key: object, cipher: TokenCipher | None, **extra: object
    ) -> None:
        """Take the token and the canonical and native form of its user's id."""
        self.user_id = user_id
        self._token = token
        self._key = key
        self._cipher = cipher
        self._extra = extra

    def __call__(self) -> dict[str, object]:
        """Return the parameters, with the tokens encrypted where there is a cipher."""
        token, pair = self._token, self._token.pair
        return {
            **{f"p_{name}": getattr(token, name) for name in PLAIN[8:]},
            "p_id": uuid4(),
            "p_user_id": self._key,
            "p_token_type": pair.token_type,
            "p_expires_at": pair.expires_at,
            "p_account_id": pair.account_id,
            "p_amocrm_user_id": pair.amocrm_user_id,
            "p_domain": pair.domain,
            "p_api_domain": pair.api_domain,
            "p_scopes": " ".join(pair.scopes),
            "p_created_at": token.pair_saved_at,
            "p_updated_at": token.pair_saved_at,
            "p_access_token": seal(self._cipher, pair.access_token, user_id=self.user_id, column="access_token"),
            "p_refresh_token": seal(self._cipher, pair.refresh_token, user_id=self.user_id, column="refresh_token"),
            "p_previous_refresh_token": _previous(token, self.user_id, self._cipher),
            **self._extra,
        }


@final
class Rewritten:
    """The parameters that write a row's tokens anew, with the cipher's current key."""

    __slots__ = ("_cipher", "_key", "_token")

    def __init__(self, token: UserToken, key: object, cipher: TokenCipher | None) -> None:
        """Take the row as it was read."""
        self._token = token
        self._key = key
        self._cipher = cipher

    def __call__(self) -> dict[str, object]:
        """Return the parameters; they hold for the row's revision only."""
        token, pair, user_id = self._token, self._token.pair, self._token.user_id
        return {
            "p_user_id": self._key,
            "p_over": token.revision,
            "p_access_token": seal(self._cipher, pair.access_token, user_id=user_id, column="access_token"),
            "p_refresh_token": seal(self._cipher, pair.refresh_token, user_id=user_id, column="refresh_token"),
            "p_previous_refresh_token": _previous(token, user_id, self._cipher),
        }


def _previous(token: UserToken, user_id: str, cipher: TokenCipher | None) -> str | None:
    if token.previous_refresh_token is None:
        return None
    return seal(cipher, _text(token.previous_refresh_token), user_id=user_id, column="previous_refresh_token")


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
    (revision, client_id, code_hash, in_doubt, pair_saved_at, lease_holder, lease_until, *rest) = rest
    (failures, retry_at, failure, reauth_reason, reauth_at, rejected_at, *tokens) = rest
    access, refresh, previous = tokens or ("", "", None)
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
        revision=revision,
        client_id=client_id,
        code_hash=code_hash,
        previous_refresh_token=previous and _late(previous, cipher, user_id, "previous_refresh_token"),
        in_doubt=in_doubt,
        pair_saved_at=pair_saved_at,
        lease_holder=lease_holder,
        lease_until=lease_until,
        failures=failures,
        retry_at=retry_at,
        failure=failure,
        reauth_reason=reauth_reason,
        reauth_at=reauth_at,
        rejected_at=rejected_at,
    )
