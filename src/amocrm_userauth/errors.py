"""What can go wrong, sorted by what the caller must do about it.

::

    AmoCRMUserAuthError              .user_id, .code, .http_status
    ├ CallbackError            400   the connection was not made: start anew
    │   ├ InvalidState               invalid_state (.reason)
    │   ├ AuthorizationDenied        access_denied
    │   ├ InvalidCode                invalid_code
    │   ├ UntrustedHost              untrusted_host
    │   ├ WrongAccount               wrong_account
    │   └ AlreadyConnectedByAnother  already_connected_by_another
    ├ ReauthorizationRequired  409   only the user can mend it: connect again
    │   ├ NotConnected               not_connected
    │   └ GrantRevoked               grant_revoked (.reason)
    ├ TemporarilyUnavailable   503   the same call may work later (.retry_after)
    │   ├ AmoCRMUnavailable          amocrm_unavailable
    │   ├ RefreshInProgress          refresh_in_progress
    │   └ StoreUnavailable           store_unavailable
    ├ ProtocolError            502   amoCRM said something that is not understood
    ├ ConfigurationError       500   a developer's job
    └ TokenNotSaved            500   a fresh pair could not be stored (yet)

No message, attribute or cause of these holds a token, code, state, key or response body. The exceptions of
httpx, SQLAlchemy and cryptography do not leak out, and are not chained either: their text and frames may hold
what was being sent or stored.
"""

from typing import ClassVar

__all__ = [
    "AlreadyConnectedByAnother",
    "AmoCRMUnavailable",
    "AmoCRMUserAuthError",
    "AuthorizationDenied",
    "CallbackError",
    "ConfigurationError",
    "GrantRevoked",
    "InvalidCode",
    "InvalidState",
    "NotConnected",
    "ProtocolError",
    "ReauthorizationRequired",
    "RefreshInProgress",
    "StoreUnavailable",
    "TemporarilyUnavailable",
    "TokenNotSaved",
    "UntrustedHost",
    "WrongAccount",
]


class AmoCRMUserAuthError(Exception):
    """The root of everything that this library raises on purpose.

    ``user_id`` is the user concerned, or ``""``. ``code`` is stable and is what the endpoints put on the wire,
    ``http_status`` the status that goes with it. ``message`` says what happened and what to do; it holds no secret.
    """

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    default_message: ClassVar[str] = "amocrm_userauth failed"

    def __init__(self, message: str = "", *, user_id: str = "") -> None:
        """Build the error; an empty ``message`` takes the class's own."""
        self.message: str = message or self.default_message
        self.user_id: str = user_id
        super().__init__(self.message)

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling, as task queues and process pools need."""
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(
    kind: type[AmoCRMUserAuthError], args: tuple[object, ...], state: dict[str, object]
) -> AmoCRMUserAuthError:
    error = kind.__new__(kind, *args)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


class CallbackError(AmoCRMUserAuthError):
    """The connection was not made. Start anew: ask for a new authorize URL."""

    code = "callback_error"
    http_status = 400
    default_message = "the connection was not made; start it anew"


class InvalidState(CallbackError):
    """The ``state`` does not prove that this answer belongs to this user. Start anew; do not retry this one.

    ``reason`` is one of ``missing``, ``malformed``, ``signature``, ``expired``, ``other_user``, ``used``,
    ``other_code``, ``from_widget``, ``repeated`` or ``client``.
    """

    code = "invalid_state"
    default_message = "the state is missing, expired, used or not this user's; start the connection anew"

    def __init__(self, message: str = "", *, user_id: str = "", reason: str = "malformed") -> None:
        """Build the error for one ``reason``."""
        super().__init__(message, user_id=user_id)
        self.reason = reason


class AuthorizationDenied(CallbackError):
    """The user pressed "deny" on amoCRM's consent page. Offer to connect again when they wish."""

    code = "access_denied"
    default_message = "the user refused access on amoCRM's page"


class InvalidCode(CallbackError):
    """AmoCRM did not accept the authorization code: expired, used, or never one of its own. Start anew."""

    code = "invalid_code"
    default_message = "amoCRM did not accept the authorization code; start the connection anew"


class UntrustedHost(CallbackError):
    """A host that is not amoCRM's was named. Nothing was sent to it. Check who sent the request."""

    code = "untrusted_host"
    default_message = "this host is not one of amoCRM's; nothing was sent to it"


class WrongAccount(CallbackError):
    """The user chose another amoCRM account than the configured one. Let them connect and choose the right one."""

    code = "wrong_account"
    default_message = "another amoCRM account was chosen than the one this application works with"


class AlreadyConnectedByAnother(CallbackError):
    """Another user of the application is connected with this amoCRM login.

    Usually the phone's browser is still logged in as a colleague: log out there, then connect again.
    """

    code = "already_connected_by_another"
    default_message = "another user is connected with this amoCRM login; log out of amoCRM in the browser and try again"


class ReauthorizationRequired(AmoCRMUserAuthError):
    """Only the user can mend it: send them through the connect flow (``begin``)."""

    code = "reauthorization_required"
    http_status = 409
    default_message = "the user must connect amoCRM (again)"


class NotConnected(ReauthorizationRequired):
    """This user has no stored connection. Send them through the connect flow."""

    code = "not_connected"
    default_message = "the user is not connected to amoCRM"


class GrantRevoked(ReauthorizationRequired):
    """AmoCRM refuses this user's grant. Send them through the connect flow.

    ``reason`` is one of ``revoked``, ``expired`` or ``undecryptable``.
    """

    code = "grant_revoked"
    default_message = "amoCRM no longer accepts this user's grant; the user must connect again"

    def __init__(self, message: str = "", *, user_id: str = "", reason: str = "revoked") -> None:
        """Build the error for one ``reason``."""
        super().__init__(message, user_id=user_id)
        self.reason = reason


class TemporarilyUnavailable(AmoCRMUserAuthError):
    """Nothing is lost; the same call may work later.

    ``retry_after`` is the number of seconds to wait before trying again, ``None`` where nobody knows.
    """

    code = "temporarily_unavailable"
    http_status = 503
    default_message = "temporarily unavailable; try again later"

    def __init__(self, message: str = "", *, user_id: str = "", retry_after: float | None = None) -> None:
        """Build the error; ``retry_after`` in seconds."""
        super().__init__(message, user_id=user_id)
        self.retry_after = retry_after


class AmoCRMUnavailable(TemporarilyUnavailable):
    """AmoCRM cannot be reached, is overloaded, or limits us. Try again after ``retry_after`` seconds."""

    code = "amocrm_unavailable"
    default_message = "amoCRM cannot be reached or refuses work for now; the connection is kept, try again later"


class RefreshInProgress(TemporarilyUnavailable):
    """Another caller is at it and did not finish within ``wait_budget``. Try again after ``retry_after`` seconds."""

    code = "refresh_in_progress"
    default_message = "another caller is refreshing or connecting this user; try again in a moment"


class StoreUnavailable(TemporarilyUnavailable):
    """The token store failed or did not answer. See to the database; the call may then be repeated."""

    code = "store_unavailable"
    default_message = "the token store failed or did not answer; check the database, then try again"


class ProtocolError(AmoCRMUserAuthError):
    """AmoCRM answered something that is not understood. Report it with the message; nothing was condemned."""

    code = "protocol_error"
    http_status = 502
    default_message = "amoCRM answered something that is not understood"


class ConfigurationError(AmoCRMUserAuthError):
    """A developer's job: client id, secret, redirect URI, keys, schema or an unknown user. The message says which."""

    code = "configuration_error"
    default_message = "the integration is not configured correctly"


class TokenNotSaved(AmoCRMUserAuthError):
    """AmoCRM gave a fresh pair and the store did not take it yet.

    The pair is kept in this process and saved by the next call for this user. Keep the process running, see to
    the database, and call again.
    """

    code = "token_not_saved"
    default_message = "a fresh token pair could not be stored yet; keep this process running and check the database"
