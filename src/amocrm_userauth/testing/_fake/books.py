"""What the fake writes down about the calls it got. No token, code or secret is in it."""

from dataclasses import dataclass

__all__ = ["Books", "LedgerEntry", "LoggedRequest", "Presentation"]


@dataclass(slots=True)
class Presentation:
    """One call of the token endpoint with a refresh token or a code.

    ``user`` is whose it was, ``""`` if amoCRM never issued it. ``fingerprint`` names the token without telling it (see
    :func:`amocrm_userauth.testing.fingerprint`). ``outcome`` is ``"issued"`` (a new pair came of it), ``"refused"``
    (``hint`` says why) or ``"failed"`` (an arranged failure or limit, before the token was looked at). ``answered`` is
    ``False`` if the answer was never sent in full, or its reader had gone away. ``at`` is the time in Unix seconds,
    ``answered_at`` that of the answer. ``issued`` is the fingerprint of the refresh token that came of it, ``host``
    where it was presented, and ``request_id`` the request's ``X-Request-ID``, ``""`` without one.
    """

    user: str
    grant_type: str
    fingerprint: str
    outcome: str
    at: float
    status: int | None = None
    hint: str = ""
    answered: bool = False
    answered_at: float | None = None
    issued: str = ""
    host: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One pair that was ever issued, told by the fingerprints of its tokens.

    ``parent`` is the fingerprint of the refresh token that bought it, ``""`` for the first pair of a grant; ``grant``
    numbers the grants. ``state`` is that of the refresh token: ``alive``, ``spent`` or ``killed``. Times are Unix
    seconds: the access token is good until ``expires_at``, or ``ended_at`` if it was ended before.
    """

    user: str
    grant: int
    fingerprint: str
    access_fingerprint: str
    parent: str
    issued_at: float
    expires_at: float
    ended_at: float | None
    state: str


@dataclass(slots=True)
class LoggedRequest:
    """One request: ``status`` is ``None`` if no answer was sent. Queries, headers and bodies are not kept."""

    method: str
    path: str
    host: str
    user: str
    at: float
    status: int | None = None


class Books:
    """Everything that was asked of this fake, in the order it came in."""

    def __init__(self) -> None:
        """Start empty."""
        self.requests: list[LoggedRequest] = []
        self.presentations: list[Presentation] = []

    def of(self, user: str | None, grant_type: str | None) -> list[Presentation]:
        """Return the token calls of one user and grant type; ``None`` means all."""
        return [
            seen for seen in self.presentations if user in {None, seen.user} and grant_type in {None, seen.grant_type}
        ]
