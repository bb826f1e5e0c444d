"""What an answer that brought no pair means to the caller, outside a lease."""

from amocrm_userauth._core.answers import (
    Answer,
    CodeRefused,
    Elsewhere,
    Misconfigured,
    NotUnderstood,
    Refused,
    Transient,
)
from amocrm_userauth.errors import (
    AmoCRMUnavailable,
    AmoCRMUserAuthError,
    ConfigurationError,
    InvalidCode,
    ProtocolError,
)

__all__ = ["meaning"]


def meaning(answer: Answer, user_id: str) -> AmoCRMUserAuthError:
    """Return the error for an answer to a code exchange (or to a refresh that was neither granted nor refused)."""
    match answer:
        case CodeRefused() | Refused():
            return InvalidCode(user_id=user_id)
        case Misconfigured(message) | Elsewhere(Misconfigured(message)):
            return ConfigurationError(message, user_id=user_id)
        case Transient(message, wait=wait) | Elsewhere(Transient(message, wait=wait)):
            return AmoCRMUnavailable(message, user_id=user_id, retry_after=wait)
        case Elsewhere():
            msg = "amoCRM knows no such code at this account's host; start the connection anew"
            return InvalidCode(msg, user_id=user_id)
        case NotUnderstood(message):
            return ProtocolError(message, user_id=user_id)
        case _:
            return AmoCRMUnavailable("the time was over before anything was sent to amoCRM", user_id=user_id)
