"""What amoCRM's redirect to the callback says, checked before anything is done with it."""

from collections.abc import Iterable

from amocrm_userauth._core.hosts import trusted_host
from amocrm_userauth._core.integration import Integration
from amocrm_userauth._core.model import Callback
from amocrm_userauth._core.state import StateManager, Ticket
from amocrm_userauth.errors import InvalidState, UntrustedHost

__all__ = ["Query", "read_callback"]

_MAX_CODE = 4096


def read_callback(query: "Query", integration: Integration, states: StateManager) -> tuple[Callback, Ticket]:
    """Return what the query parameters say, and what their state proves.

    Raises:
        InvalidState: no or a wrong state, a parameter given twice, a widget's webhook, another client, no code.
        UntrustedHost: ``referer`` is not a host of amoCRM's.

    """
    if query.repeats:
        raise InvalidState("a parameter was given twice", reason="repeated")
    if query.has("from_widget"):
        raise InvalidState("a widget's webhook is not a user's answer", reason="from_widget")
    ticket = states.verify(query.get("state"))
    if query.get("client_id") not in {"", integration.client_id}:
        raise InvalidState("the answer is for another integration", reason="client")
    if query.get("error"):
        return Callback(state=query.get("state"), error="access_denied"), ticket
    if not query.has_code():
        raise InvalidState("the answer holds no code", reason="malformed")
    if query.get("referer"):
        query.trust_referer(integration.host_suffixes)
    elif not integration.account_domain:
        raise UntrustedHost("the answer names no account and no account_domain is configured")
    return Callback(state=query.get("state"), code=query.get("code"), referer=query.get("referer")), ticket


class Query:
    """The query parameters of the callback, not shown by a rendered traceback."""

    __slots__ = ("_values", "repeats")

    def __init__(self, params: Iterable[tuple[str, str]]) -> None:
        pairs = list(params)
        self._values = dict(pairs)
        self.repeats = len(self._values) != len(pairs)

    def has(self, name: str) -> bool:
        """Say whether there is such a parameter."""
        return name in self._values

    def get(self, name: str) -> str:
        """Return its value, ``""`` without one."""
        return self._values.get(name, "")

    def has_code(self) -> bool:
        """Say whether there is something that can be a code."""
        code = self.get("code")
        return 0 < len(code) <= _MAX_CODE and code.isascii() and code.isprintable()

    def trust_referer(self, suffixes: tuple[str, ...]) -> None:
        """Bring ``referer`` into its one spelling; ``UntrustedHost`` if it is not amoCRM's."""
        self._values["referer"] = trusted_host(self._values["referer"], suffixes)
