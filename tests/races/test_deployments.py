"""Two deployments on one store, one of them with wrong settings: nobody is condemned and the right one still works."""

import contextlib
import threading
from dataclasses import replace
from typing import Any

import pytest

from amocrm_userauth import MemoryTokenStore
from amocrm_userauth.errors import ConfigurationError
from tests.races.kit import (
    DAY,
    PATIENCE,
    ROTATIONS,
    USER,
    Clock,
    assert_alive,
    connect,
    in_threads,
    service,
    world,
)

WRONG = [
    {"client_secret": "example-secret-of-yesterday"},
    {"client_id": "5e0ec2b1-0000-4000-8000-00000000bad1"},
    {"redirect_uri": "https://backend.example/api/amo-crm/callback/"},
]
pytestmark = [
    pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: next(iter(wrong))),
    pytest.mark.parametrize("mismatch", ["hint", "2020"]),
    pytest.mark.parametrize("rotation", ROTATIONS),
]


@contextlib.contextmanager
def two(rotation: str, mismatch: str, wrong: dict[str, str]) -> Any:
    clock, store = Clock(), MemoryTokenStore()
    with world(rotation, clock, client_mismatch=mismatch) as fake, fake.http_client() as http:
        good = service(fake, store, http, clock=clock)
        bad = service(fake, store, http, clock=clock, integration=replace(good.integration, **wrong))
        with good, bad:
            connect(good, fake)
            clock.advance(DAY + 60)
            yield fake, store, good, bad


def test_a_wrong_deployment_condemns_nobody(rotation: str, mismatch: str, wrong: dict[str, str]) -> None:
    """Its callers are told, amoCRM is asked once at most, and the right one works at once, cool-down or not."""
    with two(rotation, mismatch, wrong) as (fake, store, good, bad):
        for _ in range(20):
            with pytest.raises(ConfigurationError):
                bad.access_token(USER)
        assert fake.token_calls(USER) <= 2, "the cool-down keeps the wrong one from asking again"
        assert store.get(USER).reauth_reason is None
        assert good.status(USER).connected
        assert fake.accepts_access(good.access_token(USER))
        assert_alive(store, fake)


def test_a_wrong_deployment_at_the_same_moment_condemns_nobody(
    rotation: str, mismatch: str, wrong: dict[str, str]
) -> None:
    """Twenty callers of each at once: the right one's are all served."""
    with two(rotation, mismatch, wrong) as (fake, store, good, bad):
        results = in_threads([lambda auth=auth: auth.access_token(USER) for auth in (good, bad) * 20])
        token = fake.pairs(USER)[-1].access_token
        assert set(results[::2]) == {token}
        assert all(result == token or isinstance(result, ConfigurationError) for result in results[1::2])
        assert len(fake.pairs(USER)) == 2
        assert_alive(store, fake)


def test_a_wrong_deployment_does_not_speak_for_a_connect(rotation: str, mismatch: str, wrong: dict[str, str]) -> None:
    """The same post at both at once, in one process: the right one connects."""
    if "client_id" in wrong:
        pytest.skip("a state is bound to its client id")
    clock, store, keys = Clock(), MemoryTokenStore(), ["example-key-of-both-deployments"]
    with world(rotation, clock, client_mismatch=mismatch) as fake, fake.http_client() as http:
        good = service(fake, store, http, clock=clock, state_keys=keys)
        bad = service(fake, store, http, clock=clock, state_keys=keys, integration=replace(good.integration, **wrong))
        with good, bad:
            request = good.begin(USER)
            given = {"code": fake.authorize(USER, state=request.state), "state": request.state}
            hold = fake.hold_next(USER)
            first = threading.Thread(
                target=lambda: in_threads([lambda: bad.connect(USER, **given, referer=fake.host(USER))])
            )
            first.start()
            hold.wait_arrived()
            threading.Timer(0.05, hold.release).start()
            assert good.connect(USER, **given, referer=fake.host(USER)).connected
            first.join(PATIENCE)
            assert_alive(store, fake)
