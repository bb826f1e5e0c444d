"""Signing calls to amoCRM as a user: the rules that the adapters for httpx and httpx2 share.

Nothing of an HTTP library is known here: the two have the same interface and no class in common.
"""

import hmac

from amocrm_userauth.errors import UntrustedHost

__all__ = ["HOME", "Bearer", "destination"]

HOME = "account.amocrm-userauth.invalid"
"""Stands for the user's account in the base URL of a client that cannot ask the store when it is made."""

_HTTPS_PORT = 443
_UNAUTHORIZED = 401


class Bearer:
    """One access token on its way into a header; never in the ``repr``, so never in a rendered traceback either."""

    __slots__ = ("token",)

    def __init__(self, token: str) -> None:
        """Keep the token."""
        self.token = token

    @property
    def header(self) -> str:
        """The value of the ``Authorization`` header."""
        return f"Bearer {self.token}"

    def same_as(self, other: "Bearer") -> bool:
        """Say whether both hold the same token."""
        return hmac.compare_digest(self.token.encode(), other.token.encode())

    def was_refused(self, status: int, header: str | None) -> bool:
        """Say whether a response with ``status`` to a request with this ``Authorization`` header refuses this token.

        After a redirect to another host the request carries no token, and a 401 is about something else.
        """
        return status == _UNAUTHORIZED and header == self.header


def destination(*, scheme: str, host: bytes, port: int | None, home: str, hosts: tuple[str, str], user_id: str) -> str:
    """Return the host that a signed request goes to.

    ``home`` is what the client was made with and stands for the user's account, wherever that is now. ``hosts`` are the
    two that belong to the user: the account's own and the shared API host.

    Raises:
        UntrustedHost: it is not https, not on the usual port, or not one of the user's hosts. Nothing was sent.

    """
    name = host.decode("ascii").lower()
    if name == home:
        name = hosts[0]
    if scheme != "https" or port not in {None, _HTTPS_PORT} or not name or name not in hosts:
        msg = "only https calls to the user's own amoCRM hosts are signed; nothing was sent"
        raise UntrustedHost(msg, user_id=user_id)
    return name
