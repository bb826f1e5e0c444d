"""The races of the core, with the ORM store: several processes on one database, and users who leave meanwhile."""

import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from tests.django import kit  # isort: skip - it sets Django up

import pytest
from django.contrib.auth import get_user_model

from amocrm_userauth.django import user_auth
from amocrm_userauth.errors import AmoCRMUserAuthError, NotConnected
from tests.django.site import Worker, amocrm, connect, connect_expired, expire, workers
from tests.races.kit import PATIENCE, assert_alive, assert_all_served, in_threads

CI_RUNS = 3
RUNS = 20
POINTS = 70 if os.environ.get("AMOCRM_TEST_LONG") == "1" else 15  # on each of three databases


@pytest.fixture(scope="module")
def four() -> Iterator[list[Worker]]:
    """Four processes that have worked before."""
    with workers(4) as made:
        yield made


@pytest.fixture(autouse=True)
def _many_turns() -> Iterator[None]:
    """Let threads take turns more often than Python's 5 ms: more interleavings in less time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("run", [pytest.param(n, marks=[pytest.mark.long] * (n >= CI_RUNS)) for n in range(RUNS)])
def test_four_processes_with_ten_callers_share_one_refresh(run: int, database: str, four: list[Worker]) -> None:
    """Forty callers, one call of the token endpoint, nobody fails, and the stored pair is good."""
    user = kit.make_user("bob", database)
    with amocrm() as fake:
        connect_expired(fake, user)
        for worker in four:
            worker.begin("ask", fake, database, user, callers=10)
        results = [result for worker in four for result in worker.result()]
        assert len(results) == 40
        assert not [result for result in results if result.startswith("error:")], Counter(results)
        assert_all_served(results, fake, user)
        assert_alive(user_auth().store, fake, user)


@pytest.mark.parametrize("point", ["before", "after"])
def test_a_process_killed_at_the_commit_loses_nobody(point: str, database: str) -> None:
    """After the lease ran out another process has a valid token, whether or not the pair was stored."""
    user = kit.make_user("bob", database)
    with amocrm("lenient") as fake, workers(1) as (worker,):
        connect_expired(fake, user)
        worker.begin("die", fake, database, user, point=point)
        assert worker.process.wait(PATIENCE) < 0
        now = datetime.now(UTC)
        store = user_auth().store
        row = store.get(user)
        if point == "before":
            assert row.lease_holder is not None
            assert row.lease_until > now
            # what time would do
            from amocrm_userauth.django.models import AmoCRMToken

            AmoCRMToken.objects.using(database).update(lease_until=now - timedelta(seconds=1))
        assert user_auth().access_token(user) == fake.pairs(user)[-1].access_token
        assert_alive(store, fake, user)


def refreshing(user: str) -> threading.Thread:
    """A caller in the background."""

    def run() -> None:
        with suppress(AmoCRMUserAuthError):
            user_auth().access_token(user)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_disconnect_at_a_random_moment_of_a_refresh_stands(database: str) -> None:
    """None of 210 comes back (45 without the long tests)."""
    user = kit.make_user("bob", database)
    chance = random.Random(f"disconnect-{database}")
    with amocrm(CONN_MAX_AGE=60) as fake:
        auth = user_auth()
        for _ in range(POINTS):
            connect_expired(fake, user)
            caller = refreshing(user)
            time.sleep(chance.uniform(0, 0.03))
            auth.disconnect(user)
            caller.join(PATIENCE)
            assert auth.store.get(user) is None
            with pytest.raises(NotConnected):
                auth.access_token(user)


def test_a_user_deleted_at_a_random_moment_of_a_refresh_stays_away(database: str) -> None:
    """None of 210 (45) leaves a connection behind, nor keeps the site from deleting the user."""
    chance = random.Random(f"delete-{database}")
    users = get_user_model()._base_manager.using(database)
    with amocrm(CONN_MAX_AGE=60) as fake:
        auth = user_auth()
        for _ in range(POINTS):
            user = kit.make_user("bob", database)
            connect_expired(fake, user)
            caller = refreshing(user)
            time.sleep(chance.uniform(0, 0.03))
            users.get(pk=user).delete()
            caller.join(PATIENCE)
            assert auth.store.get(user) is None
            with pytest.raises(NotConnected):
                auth.access_token(user)


def test_a_reconnect_during_refreshes_is_not_overwritten(database: str) -> None:
    """Whichever way they meet, the pair of the last connection is stored, and it is good."""
    user = kit.make_user("bob", database)
    with amocrm(CONN_MAX_AGE=60) as fake:
        connect(fake, user)
        for _ in range(10):
            expire(user)
            caller = refreshing(user)
            connect(fake, user)
            caller.join(PATIENCE)
            assert_alive(user_auth().store, fake, user)


def test_many_users_refresh_at_once(database: str) -> None:
    """Twenty users at once: each has one token call, nobody fails."""
    names = [kit.make_user(f"user-{number}", database) for number in range(20)]
    with amocrm(CONN_MAX_AGE=60) as fake:
        for user in names:
            connect_expired(fake, user)
        results = in_threads([lambda user=user: user_auth().access_token(user) for user in names])
        for user, result in zip(names, results, strict=True):
            assert_all_served([result], fake, user)
