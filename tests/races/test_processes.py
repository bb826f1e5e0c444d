"""Several processes on one SQLite file: one spend, and a process that is killed is recovered from."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amocrm_userauth.errors import GrantRevoked
from tests.races.kit import (
    LEASE,
    ROTATIONS,
    USER,
    Clock,
    Wrapped,
    assert_alive,
    assert_all_served,
    connect_expired,
    on_clock,
    service,
    sqlite_store,
    world,
)
from tests.races.processes import Worker


@contextlib.contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    made = [Worker() for _ in range(count)]
    try:
        yield made
    finally:
        for worker in made:
            worker.stop()


@pytest.fixture(scope="module")
def four() -> Iterator[list[Worker]]:
    """Four processes that have worked before."""
    with workers(4) as made:
        yield made


class Spare:
    """A process that is being started while the test before still runs."""

    def __init__(self) -> None:
        self.next = Worker()

    @contextlib.contextmanager
    def taken(self) -> Iterator[Worker]:
        """Hand it out, and start another."""
        worker, self.next = self.next, Worker()
        try:
            yield worker
        finally:
            worker.stop()


@pytest.fixture(scope="module")
def spare() -> Iterator[Spare]:
    """Processes to be killed."""
    made = Spare()
    yield made
    made.next.stop()


KINDS = {
    "threads": [{"do": "threads"}] * 4,
    "threads with a service and store each": [{"do": "threads", "services": 10}] * 4,
    "tasks": [{"do": "tasks"}] * 4,
    "both": [{"do": "threads"}, {"do": "tasks"}] * 2,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_four_processes_with_ten_callers_share_one_refresh(
    rotation: str, kind: str, four: list[Worker], tmp_path: Path
) -> None:
    """Forty callers, one call of the token endpoint, nobody fails."""
    path = tmp_path / "tokens.db"
    with world(rotation) as fake, sqlite_store(path) as store:
        connect_expired(fake, store)
        for worker, job in zip(four, KINDS[kind], strict=True):
            worker.begin(fake=fake, path=path, callers=10, **job)
        results = [result for worker in four for result in worker.result()]
        assert len(results) == 40
        assert not [result for result in results if result.startswith("error:")], Counter(results)
        assert_all_served(results, fake)
        assert_alive(store, fake)


class Leases(Wrapped):
    """A store that counts the leases it grants."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.granted = 0

    def take_lease(self, user_id: str, *, holder: str, **more: Any) -> Any:
        row = self.inner.take_lease(user_id, holder=holder, **more)
        self.granted += row is not None and row.lease_holder == holder
        return row


# point, did amoCRM rotate, was the pair stored
POINTS = [
    ("before the send", False, False),
    ("sent, amoCRM has not looked", True, False),
    ("sent, amoCRM has rotated", True, False),
    ("after the answer", True, False),
    ("before the commit", True, False),
    ("after the commit", True, True),
]


CASES = [(rotation, *point) for rotation in ("strict", "lenient") for point in POINTS]
CASES += [("family", *point) for point in POINTS[2:3]]


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for something that happens elsewhere."""
    give_up = time.monotonic() + 10
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def kill_at(point: str, fake: Any, path: Path, spare: "Spare") -> None:
    """Let a process refresh and kill it at ``point``."""
    with spare.taken() as worker:
        hold = fake.hold_next(USER, at="before" if "not looked" in point else "after") if "sent" in point else None
        worker.begin("die", fake, path, point=point)
        if hold is not None:
            hold.wait_arrived(30)
            worker.process.kill()
        worker.killed()
        if hold is not None:
            hold.release()
            wait_until(lambda: len(fake.pairs(USER)) == 2)  # amoCRM does its work although nobody waits for the answer


@pytest.mark.parametrize(("rotation", "point", "rotated", "stored"), CASES)
def test_another_process_recovers_from_one_that_was_killed(
    rotation: str, point: str, rotated: bool, stored: bool, spare: "Spare", tmp_path: Path
) -> None:
    """Nobody spends before the lease has run out; then only a single-use token whose pair died unstored is lost."""
    path, clock = tmp_path / "tokens.db", Clock()
    with world(rotation) as fake, sqlite_store(path) as store, fake.http_client() as http:
        connect_expired(fake, store)
        kill_at(point, fake, path, spare)
        calls, leases = fake.token_calls(USER), Leases(store)
        assert len(fake.pairs(USER)) == 1 + rotated
        with service(fake, leases, http, clock=clock) as auth:
            if stored:
                assert auth.access_token(USER) == fake.pairs(USER)[-1].access_token
                assert fake.token_calls(USER) == calls
                return
            assert leases.inner.get(USER).lease_until > clock()
            clock.advance(LEASE + 1)
            on_clock(auth, clock, skip_waiting=True)
            if rotated and rotation != "lenient":
                with pytest.raises(GrantRevoked):
                    auth.access_token(USER)
                assert fake.token_calls(USER) == calls, "a look-up tells that the token is dead, without a spend"
            else:
                auth.access_token(USER)
                assert fake.token_calls(USER) == calls + 1
                assert_alive(store, fake)
            assert leases.granted == 1


def test_nobody_spends_while_the_killed_process_has_the_lease(spare: "Spare", tmp_path: Path) -> None:
    """Callers wait within their budget and are told to come back."""
    path, clock = tmp_path / "tokens.db", Clock()
    with world("strict") as fake, sqlite_store(path) as store, fake.http_client() as http:
        connect_expired(fake, store)
        kill_at("before the send", fake, path, spare)
        with service(fake, store, http, clock=clock) as auth:
            on_clock(auth, clock, skip_waiting=True)
            with pytest.raises(Exception, match="another caller") as caught:
                auth.access_token(USER)
            assert caught.value.code == "refresh_in_progress"
            assert fake.token_calls(USER, "refresh_token") == 0


WRONG = [
    {"client_secret": "example-secret-of-yesterday"},
    {"client_id": "5e0ec2b1-0000-4000-8000-00000000bad1"},
    {"redirect_uri": "https://backend.example/api/amo-crm/callback/"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: next(iter(wrong)))
def test_a_wrong_deployment_in_another_process_condemns_nobody(
    wrong: dict[str, str], four: list[Worker], tmp_path: Path
) -> None:
    """Two processes have wrong settings, two the right ones: those serve all their callers with one refresh."""
    path = tmp_path / "tokens.db"
    with world("strict") as fake, sqlite_store(path) as store:
        connect_expired(fake, store)
        for worker in four[:2]:
            worker.begin("threads", fake, path, callers=10, wrong=wrong)
        for worker in four[2:]:
            worker.begin("threads", fake, path, callers=10)
        answers = [worker.result() for worker in four]
        good = {fake.pairs(USER)[-1].access_token}
        assert set(answers[2] + answers[3]) == good
        assert set(answers[0] + answers[1]) <= good | {"error:configuration_error"}
        issued = [seen for seen in fake.presentations(USER, "refresh_token") if seen.outcome == "issued"]
        assert len(issued) == 1
        assert_alive(store, fake)
