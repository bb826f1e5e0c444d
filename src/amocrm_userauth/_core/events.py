"""What the application is told through ``on_event``: typed, without secrets."""

from dataclasses import dataclass

__all__ = ["Connected", "Disconnected", "Event", "ReauthorizationRequired", "Recovered", "Refreshed", "SaveFailed"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to one user's connection."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """The user connected an amoCRM account (for the first time or again)."""

    account_id: str
    domain: str


@dataclass(frozen=True, slots=True)
class Refreshed(Event):
    """A new pair replaced the old one. ``in_doubt``: the spend of the old token had been uncertain."""

    in_doubt: bool


@dataclass(frozen=True, slots=True)
class ReauthorizationRequired(Event):
    """AmoCRM refused the grant; the user must connect again. ``reason`` as in ``GrantRevoked``."""

    reason: str


@dataclass(frozen=True, slots=True)
class Disconnected(Event):
    """The stored connection was deleted."""


@dataclass(frozen=True, slots=True)
class SaveFailed(Event):
    """A fresh pair could not be stored at the first try; it is kept in this process and tried again."""


@dataclass(frozen=True, slots=True)
class Recovered(Event):
    """A pair whose save had failed is stored now."""
