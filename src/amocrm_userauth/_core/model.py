"""The values that stores keep and callers get."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from amocrm_userauth.errors import AuthorizationDenied

__all__ = [
    "AuthorizationRequest",
    "Callback",
    "ConnectionStatus",
    "Failure",
    "RefreshReport",
    "StateRecord",
    "TokenPair",
    "UserToken",
    "check_user_id",
]

_MAX_USER_ID = 255


def check_user_id(user_id: object) -> str:
    """Return ``user_id`` if it can name a user: 1 to 255 characters of text, no NUL, no lone surrogates.

    Raises:
        ValueError: for anything else. ``None`` and ``""`` are refused so that an anonymous user never gets
            anybody's token.

    """
    if not isinstance(user_id, str):
        msg = f"a user id is a non-empty str, not {type(user_id).__name__}; convert it with str(...)"
        raise ValueError(msg)  # noqa: TRY004 - one error for every unusable id
    if not 1 <= len(user_id) <= _MAX_USER_ID or "\0" in user_id:
        msg = "a user id has 1 to 255 characters and no NUL"
        raise ValueError(msg)
    if user_id.isascii():
        return user_id
    try:
        user_id.encode()
    except UnicodeEncodeError:
        msg = "a user id must be valid Unicode"
        raise ValueError(msg) from None
    return user_id


class TokenPair:
    """One access token and its refresh token, with what amoCRM says about them.

    ``expires_at`` is an aware datetime. ``account_id`` and ``amocrm_user_id`` are digits as text, or ``""`` where
    amoCRM did not say. ``domain`` is the account's host (``example.amocrm.ru``), ``api_domain`` the shared API host
    or ``""``. ``access_token`` and ``refresh_token`` may be given as callables: they are called when the token is first
    looked at, which lets a store decrypt only what is used. The tokens are never in the ``repr``.
    """

    __slots__ = (
        "_access_token",
        "_refresh_token",
        "account_id",
        "amocrm_user_id",
        "api_domain",
        "domain",
        "expires_at",
        "scopes",
        "token_type",
    )

    def __init__(
        self,
        *,
        access_token: str | Callable[[], str],
        refresh_token: str | Callable[[], str],
        expires_at: datetime,
        token_type: str = "Bearer",  # noqa: S107 - not a password
        account_id: str = "",
        amocrm_user_id: str = "",
        domain: str = "",
        api_domain: str = "",
        scopes: tuple[str, ...] = (),
    ) -> None:
        """Keep the fields as they are."""
        self._access_token = access_token
        self._refresh_token = refresh_token
        self.expires_at: datetime = expires_at
        self.token_type: str = token_type
        self.account_id: str = account_id
        self.amocrm_user_id: str = amocrm_user_id
        self.domain: str = domain
        self.api_domain: str = api_domain
        self.scopes: tuple[str, ...] = scopes

    @property
    def access_token(self) -> str:
        """The token that signs API calls. Raises ``ConfigurationError`` if it was encrypted with an unknown key."""
        if not isinstance(self._access_token, str):
            self._access_token = self._access_token()
        return self._access_token

    @property
    def refresh_token(self) -> str:
        """The token that is good for one refresh. Raises ``ConfigurationError`` if its key is unknown."""
        if not isinstance(self._refresh_token, str):
            self._refresh_token = self._refresh_token()
        return self._refresh_token

    def _key(self) -> tuple[object, ...]:
        return (
            self.access_token,
            self.refresh_token,
            self.expires_at,
            self.token_type,
            self.account_id,
            self.amocrm_user_id,
            self.domain,
            self.api_domain,
            self.scopes,
        )

    def __eq__(self, other: object) -> bool:
        """Two pairs are equal if every field is."""
        return isinstance(other, TokenPair) and self._key() == other._key()

    def __hash__(self) -> int:
        """Hash by the fields."""
        return hash(self._key())

    def __repr__(self) -> str:
        """Show what is not secret."""
        return f"TokenPair(domain={self.domain!r}, account_id={self.account_id!r}, expires_at={self.expires_at!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserToken:
    """One stored row: a user's pair and what is known about it.

    ``revision`` is a random id of the pair, made when it arrived. ``in_doubt``: a spend of this refresh token may
    have happened without its pair being stored. ``lease_holder`` may spend the refresh token until ``lease_until``.
    ``failures`` counts transient failures in a row, ``retry_at`` ends the cool-down and ``failure`` says what it was.
    ``reauth_reason`` is set when amoCRM refused the grant. ``rejected_at`` is when the API last made us refresh early.
    All times are aware.
    """

    user_id: str
    pair: TokenPair
    revision: str
    client_id: str = ""
    code_hash: str = ""
    previous_refresh_token: str | Callable[[], str] | None = field(default=None, repr=False)
    in_doubt: bool = False
    pair_saved_at: datetime
    lease_holder: str | None = None
    lease_until: datetime | None = None
    failures: int = 0
    retry_at: datetime | None = None
    failure: str = ""
    reauth_reason: str | None = None
    reauth_at: datetime | None = None
    rejected_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a lease ended without a new pair; what :meth:`TokenStore.note_failure` writes.

    ``in_doubt=True`` puts the revision in doubt, ``False`` leaves that as it is. ``failures``, ``retry_at`` and
    ``failure`` replace the stored ones. ``reauth_reason`` with ``reauth_at`` marks the grant as refused,
    ``None`` leaves a mark as it is. The lease ends in every case.
    """

    in_doubt: bool = False
    failures: int = 0
    retry_at: datetime | None = None
    failure: str = ""
    reauth_reason: str | None = None
    reauth_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRecord:
    """What is known of one nonce: the code that came with it, whose it is, and how its exchange stands.

    ``outcome`` is ``recorded`` (the bridge saw it), ``claimed`` (an exchange is under way, by ``claimant`` until
    ``claim_until``), ``retry`` (it failed and may be claimed again), or final: ``connected``, ``failed:<error code>``.
    Everything is hashed; nothing here is a secret.
    """

    nonce_hash: str
    code_hash: str
    user_hash: str
    outcome: str
    claimant: str = ""
    claim_until: datetime | None = None
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionStatus:
    """How one user's connection stands, without asking amoCRM.

    ``connected``: as far as is known an access token can be had without the user. ``has_tokens``: a pair is stored.
    ``expires_at`` is when the access token runs out, ``refreshed_at`` when the pair was stored (``None`` without one).
    """

    connected: bool
    has_tokens: bool
    domain: str = ""
    account_id: str = ""
    amocrm_user_id: str = ""
    reauth_reason: str | None = None
    expires_at: datetime | None = None
    refreshed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """Where to send the user's browser. ``url`` holds ``state``; both are secret until used and not in the ``repr``."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A checked answer of amoCRM to the redirect URI: a ``code``, or the user's refusal as ``error``."""

    state: str = field(repr=False)
    code: str = field(default="", repr=False)
    referer: str = ""
    error: str = ""

    def granted(self) -> str:
        """Return the code; for pages that connect the user right in the callback.

        Raises:
            AuthorizationDenied: the user refused. Offer to connect again when they wish.

        """
        if self.error:
            raise AuthorizationDenied
        return self.code


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshReport:
    """What a keep-alive walk did. ``failed`` maps user ids to error codes (§7); ``skipped`` counts work others did."""

    due: int = 0
    refreshed: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])
