"""The service's settings, checked once."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from amocrm_userauth._core.decisions import fingerprint
from amocrm_userauth._core.events import Event
from amocrm_userauth._core.integration import Integration
from amocrm_userauth.errors import ConfigurationError

__all__ = ["Settings"]

# two hosts' clocks may be this far apart without a lease being taken over too early (docs/concepts/grant.md)
_CLOCK_SKEW = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Budgets in seconds, and what the service is told from outside."""

    integration: Integration
    state_policy: Literal["required", "optional"]
    leeway: float
    exchange_budget: float
    lease: float
    wait_budget: float
    save_budget: float
    cache_ttl: float
    shared_user_id: str | None
    on_event: Callable[[Event], None] | None
    clock: Callable[[], datetime]
    fingerprint: str = ""

    def __post_init__(self) -> None:
        """Refuse budgets that would let two holders spend one token."""
        object.__setattr__(self, "fingerprint", fingerprint(self.integration))
        if self.exchange_budget <= 0:
            _refuse("exchange_budget must be positive")
        if self.lease < 2 * self.exchange_budget + _CLOCK_SKEW:
            _refuse("lease must be at least 2 x exchange_budget + 30 seconds (clock skew)")
        if min(self.leeway, self.wait_budget, self.save_budget, self.cache_ttl) < 0:
            _refuse("leeway, wait_budget, save_budget and cache_ttl must not be negative")
        if self.state_policy not in {"required", "optional"}:
            _refuse("state_policy must be 'required' or 'optional'")
        if self.clock().tzinfo is None:
            _refuse("clock must return aware datetimes, such as datetime.now(UTC)")

    def lease_until(self, now: datetime) -> datetime:
        """Return when a lease that is taken ``now`` runs out."""
        return now + timedelta(seconds=self.lease)


def _refuse(message: str) -> None:
    raise ConfigurationError(message)
