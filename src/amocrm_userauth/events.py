"""The events that ``on_event`` is called with: typed, without secrets."""

from amocrm_userauth._core.events import (
    Connected,
    Disconnected,
    Event,
    ReauthorizationRequired,
    Recovered,
    Refreshed,
    SaveFailed,
)

__all__ = ["Connected", "Disconnected", "Event", "ReauthorizationRequired", "Recovered", "Refreshed", "SaveFailed"]
