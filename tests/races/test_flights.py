"""Work in a thread of its own begins once, however often it is launched, and says so if it cannot begin."""

import threading
from typing import Any

import pytest

from amocrm_userauth import _pairs
from amocrm_userauth._pairs import Flight, Flights
from tests.races.kit import PATIENCE


def test_work_that_is_launched_twice_is_done_once() -> None:
    """The second thread finds that there is nothing to do."""
    done: list[int] = []
    flight = Flight(lambda: done.append(1))
    flight.run()
    flight.run()
    flight.fail(RuntimeError("too late"))
    assert flight.wait() is None
    assert done == [1]


def test_a_launch_that_came_to_nothing_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when an interrupt of the caller hits the thread that was just being started."""
    launch, launched = _pairs._launch, []

    def unlucky_once(flight: Any, mine: set[object]) -> None:
        launched.append(flight)
        if len(launched) > 1:
            launch(flight, mine)

    monkeypatch.setattr(_pairs, "_launch", unlucky_once)
    monkeypatch.setattr(_pairs, "_LAUNCH_SECONDS", 0.01)
    assert Flights[str]().start("key", lambda: "done", set()).wait(PATIENCE) == "done"
    assert len(launched) > 1


def test_a_process_without_threads_to_spare_tells_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """They get the interpreter's error at once, and the next call may work."""
    flights, mine = Flights[str](), set[object]()

    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        flight = flights.start("key", lambda: "done", mine)
        with pytest.raises(RuntimeError, match="new thread"):
            flight.wait(PATIENCE)
    assert flights.start("key", lambda: "done", mine).wait(PATIENCE) == "done"


def test_a_thread_that_a_fork_left_behind_is_forgotten() -> None:
    """Its entry does not outlive the join, so that a closed service is seen as closed."""
    gone = threading.Thread(target=int)
    gone.start()
    mine: set[object] = {gone}
    Flights.join(mine)
    assert mine == set()
