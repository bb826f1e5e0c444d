"""What the fake amoCRM knows: accounts, people, integrations, codes, grants and their pairs."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Account", "Client", "Code", "Grant", "Pair", "Person"]


@dataclass(slots=True, eq=False)
class Account:
    """One amoCRM account. ``subdomain`` can change, ``id`` cannot; ``suffix`` is such as ``amocrm.ru``."""

    id: int
    subdomain: str
    suffix: str

    @property
    def host(self) -> str:
        """The account's own host."""
        return f"{self.subdomain}.{self.suffix}"

    @property
    def api_domain(self) -> str:
        """The host that the account shares with others."""
        return f"api-b.{self.suffix}"


@dataclass(slots=True, eq=False)
class Person:
    """Somebody with a login at amoCRM. ``account`` is where they connected last."""

    name: str
    id: int
    account: Account
    active: bool = True


@dataclass(slots=True, eq=False)
class Client:
    """One registered integration."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    suffix: str


@dataclass(slots=True, eq=False)
class Code:
    """One authorization code."""

    value: str = field(repr=False)
    client_id: str
    account: Account
    person: Person
    expires_at: float
    used: bool = False


@dataclass(slots=True, eq=False)
class Grant:
    """What one consent gave to one integration, with every pair that came of it."""

    client_id: str
    account: Account
    person: Person
    pairs: list["Pair"] = field(default_factory=list["Pair"], repr=False)

    def kill(self, now: float) -> None:
        """End the grant: no token of it works any more."""
        for pair in self.pairs:
            pair.kill(now)


@dataclass(slots=True, eq=False)
class Pair:
    """One access token and its refresh token. ``parent`` is the pair whose refresh token bought it."""

    grant: Grant = field(repr=False)
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    access_expires_at: float
    refresh_expires_at: float
    issued_at: float
    parent: "Pair | None" = field(repr=False, default=None)
    state: Literal["alive", "spent", "killed"] = "alive"
    access_dead: bool = False
    ended_at: float | None = None

    def kill(self, now: float) -> None:
        """End both tokens."""
        self.state = "killed"
        self.end_access(now)

    def end_access(self, now: float) -> None:
        """End the access token."""
        self.access_dead = True
        self.ended_at = now if self.ended_at is None else self.ended_at

    def refusal(self, now: float) -> str | None:
        """Return the hint with which amoCRM would refuse the refresh token now, ``None`` if it would take it."""
        if now >= self.refresh_expires_at:
            return "Token has expired"
        return None if self.state == "alive" else "Token has been revoked"
