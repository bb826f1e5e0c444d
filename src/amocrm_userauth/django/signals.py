"""Django signals beside the library's events: connect receivers to them as to Django's own.

A receiver is called with ``user_id`` and ``event`` (see ``amocrm_userauth.events`` for what it says), from the thread
that did the work, after the change is stored; ``sender`` is the event's class. What a receiver raises is logged and
harms nothing. It must not block for long: others may be waiting for this token.
"""

from django.db import connections
from django.dispatch import Signal

from amocrm_userauth.events import Connected, Disconnected, Event, ReauthorizationRequired, Refreshed

__all__ = ["connected", "disconnected", "reauthorization_required", "refreshed", "send"]

connected: Signal = Signal()
refreshed: Signal = Signal()
reauthorization_required: Signal = Signal()
disconnected: Signal = Signal()

_SIGNALS: dict[type[Event], Signal] = {
    Connected: connected,
    Refreshed: refreshed,
    ReauthorizationRequired: reauthorization_required,
    Disconnected: disconnected,
}


def send(event: Event) -> None:
    """Tell the receivers; close the database connections that they opened in a thread that is about to end."""
    signal = _SIGNALS.get(type(event))
    if signal is None or not signal.receivers:
        return
    before = connections.all(initialized_only=True)
    try:
        signal.send_robust(sender=type(event), user_id=event.user_id, event=event)
    finally:
        for connection in connections.all(initialized_only=True):
            if connection not in before:
                connection.close()
