"""The service's settings are checked once, at construction."""

from datetime import UTC, datetime, timedelta

import pytest

from amocrm_userauth import Integration
from amocrm_userauth._core.settings import Settings
from amocrm_userauth.errors import ConfigurationError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
INTEGRATION = Integration("client", "example-secret", "https://app.example/callback")


def settings(**changes):
    fields = {
        "integration": INTEGRATION,
        "state_policy": "required",
        "leeway": 900.0,
        "exchange_budget": 20.0,
        "lease": 90.0,
        "wait_budget": 30.0,
        "save_budget": 20.0,
        "cache_ttl": 0.0,
        "shared_user_id": None,
        "on_event": None,
        "clock": lambda: NOW,
    }
    return Settings(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"exchange_budget": 0}, "exchange_budget"),
        ({"exchange_budget": -1}, "exchange_budget"),
        ({"lease": 69.9}, "lease"),
        ({"exchange_budget": 31}, "lease"),
        ({"leeway": -1}, "leeway"),
        ({"wait_budget": -1}, "wait_budget"),
        ({"save_budget": -1}, "save_budget"),
        ({"cache_ttl": -1}, "cache_ttl"),
        ({"state_policy": "none"}, "state_policy"),
        ({"clock": lambda: NOW.replace(tzinfo=None)}, "clock"),
    ],
)
def test_a_setting_that_cannot_be_right_is_refused_by_name(changes, named):
    """Above all a lease so short that two holders could spend one token."""
    with pytest.raises(ConfigurationError, match=named):
        settings(**changes)


def test_the_defaults_and_the_limits_are_accepted():
    """A lease of exactly twice the budget and the skew is enough."""
    assert settings(lease=70.0).lease_until(NOW) == NOW + timedelta(seconds=70)
    assert settings(state_policy="optional", leeway=0, wait_budget=0, save_budget=0)


def test_the_settings_do_not_show_the_secret():
    """They are a local of many frames."""
    assert "example-secret" not in repr(settings())
    assert len(settings().fingerprint) == 8
