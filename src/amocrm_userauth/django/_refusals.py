"""How an application's own login says no."""

from collections.abc import Mapping

from amocrm_userauth._wire.answers import LOG_IN

__all__ = ["RequestRefused", "not_authenticated"]


class RequestRefused(Exception):
    """Raise it in ``CURRENT_USER`` to refuse a request with a status, a message and headers of your own.

    401 becomes the code ``not_authenticated``, 403 ``forbidden``, 422 ``invalid_request``, any other ``http_error``.
    The message is shown to the client. For "nobody is logged in" it is enough to return ``None``.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        """Refuse with ``status``; ``headers`` go with the answer."""
        super().__init__(message)
        self.status: int = status
        self.message: str = message
        self.headers: Mapping[str, str] = headers or {}


def not_authenticated() -> RequestRefused:
    """Return the refusal of a request that nobody is logged in for."""
    return RequestRefused(401, LOG_IN, {"WWW-Authenticate": "Bearer"})
