"""A light model of amoCRM's token endpoint: the three readings of rotation, over a dictionary of tokens.

It answers with the bodies of the real one and agrees with ``amocrm_userauth.testing`` (``test_model.py`` runs the same
histories against both). It is here because a state must be cheap to make, to compare and to throw away.
"""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

CLIENT_ID = "5e0ec2b1-0000-4000-8000-00000000e7a1"
SECRET = "example-client-secret-of-the-model"
REDIRECT = "https://backend.example/api/amo-crm/callback"
API_HOST = "api-b.amocrm.ru"
LIFETIME = 86_400
_PROBLEM = "https://developers.amocrm.ru/v3/errors/OAuthProblemJson"


@dataclass(slots=True, eq=False)
class Pair:
    """One access token and its refresh token. ``parent`` is the pair whose refresh token bought it."""

    grant: "Grant"
    access: str
    refresh: str
    expires_at: float
    parent: "Pair | None" = None
    state: str = "alive"
    access_dead: bool = False

    def kill(self) -> None:
        self.state = "killed"
        self.access_dead = True


@dataclass(slots=True, eq=False)
class Grant:
    """What one consent of ``user`` gave."""

    name: str
    user: str
    pairs: list[Pair] = field(default_factory=list)


@dataclass(slots=True)
class Reply:
    status: int
    body: bytes


def problem(status: int, hint: str) -> Reply:
    body = {
        "hint": hint,
        "title": "Некорректный запрос",
        "type": _PROBLEM,
        "status": status,
        "detail": "В запросе отсутствует ряд параметров или параметры невалидны",
    }
    return Reply(status, json.dumps(body, ensure_ascii=False).encode())


def api_problem(status: int, **more: Any) -> Reply:
    return Reply(status, json.dumps({"title": "example", "status": status, "detail": "example", **more}).encode())


UNAVAILABLE = api_problem(503)
TOO_MANY = api_problem(429, retry_after=30)
NOT_FOUND = api_problem(404)
REVOKED = problem(401, "Token has been revoked")
UNREADABLE = problem(401, "Cannot decrypt the refresh token")
CODE_REVOKED = problem(400, "Authorization code has been revoked")
CODE_UNREADABLE = problem(400, "Cannot decrypt the authorization code")
INVALID_ACCOUNT = problem(400, "Invalid account")


class AmoCRM:
    """Accounts of users, each on a host ``<user>.amocrm.ru`` until it moves."""

    def __init__(self, rotation: str, *, lenient_until: str = "refresh", lookup: bool = False) -> None:
        self.rotation = rotation
        self.lenient_until = lenient_until
        self.lookup = lookup
        self.by_refresh: dict[str, Pair] = {}
        self.by_access: dict[str, Pair] = {}
        self.codes: dict[str, str] = {}
        self.hosts: dict[str, str] = {}
        self.grants: dict[str, Grant] = {}

    def host(self, user: str) -> str:
        return self.hosts.get(user, f"{user}.amocrm.ru")

    def open_grant(self, name: str, user: str, now: float) -> Pair:
        """A new grant with its first pair; all its tokens are named after ``name``."""
        self.grants[name] = grant = Grant(name, user)
        return self._issue(grant, name, None, now)

    def _issue(self, grant: Grant, name: str, parent: Pair | None, now: float) -> Pair:
        pair = Pair(grant, f"e30.{claims_of(grant.user, self.lookup)}.{name}", f"r.{name}", now + LIFETIME, parent)
        grant.pairs.append(pair)
        self.by_refresh[pair.refresh] = self.by_access[pair.access] = pair
        return pair

    def refresh(self, token: str, host: str, name: str, now: float) -> tuple[Reply, Pair | None]:
        """Spend a refresh token at ``host``; the new pair's tokens are named after ``name``."""
        if host not in {self.host(grant.user) for grant in self.grants.values()}:
            return NOT_FOUND, None
        pair = self.by_refresh.get(token)
        if pair is None:
            return UNREADABLE, None
        if host != self.host(pair.grant.user):
            return INVALID_ACCOUNT, None
        if pair.state != "alive":
            if self.rotation == "family" and pair.state == "spent":
                for other in pair.grant.pairs:
                    other.kill()
            return REVOKED, None
        self._rotate(pair)
        new = self._issue(pair.grant, name, pair, now)
        return _granted(new), new

    def _rotate(self, pair: Pair) -> None:
        if self.rotation != "lenient":
            pair.state = "spent"
            return
        for other in pair.grant.pairs:
            if other.parent is pair:
                other.kill()
        self._note_use(pair)

    def _note_use(self, pair: Pair) -> None:
        if pair.parent is not None and pair.parent.state == "alive":
            pair.parent.state = "spent"

    def exchange(self, code: str, host: str, name: str, now: float) -> tuple[Reply, Pair | None]:
        """Spend an authorization code."""
        user = self.codes.get(code)
        if user is None:
            return CODE_UNREADABLE, None
        if user == "":
            return CODE_REVOKED, None
        if host != self.host(user):
            return INVALID_ACCOUNT, None
        self.codes[code] = ""
        pair = self.open_grant(name, user, now)
        return _granted(pair), pair

    def look_up(self, token: str) -> Reply:
        """Answer the look-up that does not spend the token."""
        pair = self.by_refresh.get(token)
        if not self.lookup:
            return NOT_FOUND
        if pair is None:
            return UNREADABLE
        if pair.state != "alive":
            return REVOKED
        return Reply(200, json.dumps({"id": 1, "domain": self.host(pair.grant.user)}).encode())

    def accepts(self, access: str, now: float) -> bool:
        """Answer an API call with this access token."""
        pair = self.by_access.get(access)
        if pair is None or pair.access_dead or now >= pair.expires_at:
            return False
        if self.lenient_until == "access":
            self._note_use(pair)
        return True

    def key(self) -> tuple[object, ...]:
        """Everything that a later answer can depend on."""
        pairs = tuple(sorted((pair.refresh, pair.state, pair.access_dead) for pair in self.by_refresh.values()))
        return (pairs, tuple(self.codes.items()), tuple(self.hosts.items()))


_CLAIMS: dict[tuple[str, bool], str] = {}


def claims_of(user: str, lookup: bool = False) -> str:
    """The middle part of an access token of ``user``, with the look-up's host in it or without."""
    known = _CLAIMS.get((user, lookup))
    if known is None:
        number = sum(user.encode()) + 1
        claims: dict[str, object] = {"account_id": number, "sub": str(number)}
        if lookup:
            claims["api_domain"] = API_HOST
        packed = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        known = _CLAIMS[user, lookup] = packed
    return known


def _granted(pair: Pair) -> Reply:
    body = {
        "token_type": "Bearer",
        "expires_in": LIFETIME,
        "access_token": pair.access,
        "refresh_token": pair.refresh,
    }
    return Reply(200, json.dumps(body).encode())
