"""Work in threads that outlives its callers, the deadline, and what fork() leaves of them."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from amocrm_userauth import _pairs
from amocrm_userauth._pairs import Deadline, Flight, Flights, Time, for_each, fresh
from amocrm_userauth.errors import NotConnected
from tests.pairs import launch, together


class Work:
    """Blocks until it is let go, and counts its runs."""

    def __init__(self, outcome="done"):
        self.outcome = outcome
        self.runs = 0
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self):
        self.runs += 1
        self.begun.set()
        assert self.go.wait(10)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def test_equal_keys_share_one_piece_of_work():
    """Ten callers, one run, ten outcomes."""
    flights, work, mine = Flights(), Work(), set()

    first = flights.start("k", work, mine)
    assert work.begun.wait(10)
    running = [launch(lambda: flights.start("k", work, mine).wait(10)) for _ in range(10)]
    while len(first._latches) < 10:
        time.sleep(0.001)
    work.go.set()
    assert [one.outcome() for one in running] == ["done"] * 10
    assert work.runs == 1


def test_starts_at_one_moment_make_one_run():
    """Without anybody there before."""
    flights, work, mine = Flights(), Work(), set()
    work.go.set()
    for _ in range(20):
        work.runs = 0
        gate = threading.Event()

        def once(gate=gate):
            gate.wait(0.05)
            return work()

        outcomes = together([lambda once=once: flights.start("k", once, mine).wait(10)] * 8)
        assert outcomes == ["done"] * 8
        assert work.runs == 1


def test_whoever_comes_second_in_a_race_waits_for_the_first():
    """Two threads registered at the same instant: one does the work."""
    flights, work, mine = Flights(), Work(), set()
    flight = flights.start("k", work, mine)
    assert work.begun.wait(10)
    second = launch(lambda: flights._run("k", lambda: pytest.fail("run twice"), Flight(lambda: None)))
    work.go.set()
    assert second.outcome() == "done"
    assert flight.wait(10) == "done"


def test_other_keys_are_other_work():
    """And work that has ended is not joined."""
    flights, mine, work = Flights(), set(), Work()
    assert flights.find("k") is None
    flight = flights.start("k", work, mine)
    assert flights.find("k") is flight
    assert flights.find("other") is None
    assert flights.start("other", lambda: "other", mine).wait(10) == "other"
    work.go.set()
    assert flight.wait(10) == "done"
    Flights.join(mine)
    assert flights.find("k") is None
    assert flights.start("k", lambda: "again", mine).wait(10) == "again"


def test_a_waiter_whose_time_is_over_leaves_the_work_running():
    """The outcome is there for the next who asks."""
    flights, work, mine = Flights(), Work(), set()
    flight = flights.start("k", work, mine)
    for timeout in (0.01, 0, -1):
        with pytest.raises(TimeoutError):
            flight.wait(timeout)
    work.go.set()
    assert flight.wait(float("inf")) == "done"
    assert flight.wait(0) == "done"


def test_an_error_reaches_every_waiter():
    """Also those who come later."""
    flights, work, mine = Flights(), Work(OSError("example")), set()
    flight = flights.start("k", work, mine)
    waiting = [launch(lambda: flight.wait(10)) for _ in range(3)]
    work.go.set()
    assert all(isinstance(one.outcome(), OSError) for one in waiting)
    with pytest.raises(OSError, match="example"):
        flight.wait(10)
    assert flights.find("k") is None


def test_an_interrupt_ends_the_wait_and_not_the_work():
    """Ctrl-C in the main thread: the exchange goes on, and closing waits for it."""
    flights, work, mine = Flights(), Work(), set()
    flight = flights.start("k", work, mine)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        killer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        killer.start()
        with pytest.raises(KeyboardInterrupt):
            flight.wait(10)
    finally:
        signal.signal(signal.SIGUSR1, before)
    killer.join()
    assert flights.find("k") is flight
    threading.Timer(0.02, work.go.set).start()
    Flights.join(mine)
    assert flight.wait(0) == "done"


def test_join_waits_for_what_is_mine():
    """And has nothing to do otherwise."""
    flights, work, mine = Flights(), Work(), set()
    flights.start("k", work, mine)
    flights.start("other", work, set())
    assert len(mine) == 1
    threading.Timer(0.02, work.go.set).start()
    Flights.join(mine)
    assert mine == set()
    Flights.join({"something else"})


def test_the_number_of_threads_stays_flat():
    """Each piece of work has a thread for its time, no longer."""
    flights, mine = Flights(), set()
    before = threading.active_count()
    for number in range(200):
        assert flights.start(number, lambda: "done", mine).wait(10) == "done"
    Flights.join(mine)
    assert threading.active_count() <= before + 1


def test_work_runs_once_however_often_it_is_begun():
    """A second launch, by a caller that lost patience, does nothing."""
    runs = []
    flight = Flight(lambda: runs.append(1))
    assert not flight.begun
    flight.run()
    flight.run()
    flight.fail(OSError("example"))
    flight.wait_begun(0)
    assert flight.begun
    assert runs == [1]
    assert flight.wait(0) is None


def test_a_thread_that_cannot_be_started_is_an_error_for_the_waiter(monkeypatch: pytest.MonkeyPatch):
    """Nobody hangs on work that nobody does."""

    def no_threads(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_pairs.threading.Thread, "start", no_threads)
    flight = Flights().start("k", lambda: "done", set())
    with pytest.raises(RuntimeError, match="new thread"):
        flight.wait(10)


def test_a_forked_child_starts_with_nothing_under_way():
    """It neither hangs on the parent's work nor on its close, and its own work runs."""
    script = textwrap.dedent(
        """
        import os, signal, threading
        from amocrm_userauth._pairs import Deadline, Flights
        flights, go, mine = Flights(), threading.Event(), set()
        flight = flights.start("k", lambda: go.wait(20), mine)
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            assert flights.find("k") is None
            Flights.join(mine)
            assert flights.start("k", lambda: "child", mine).wait(5) == "child"
            assert Deadline().run(5, lambda: "request", lambda: None) == "request"
            Flights.join(mine)
            os._exit(7)
        status = os.waitpid(child, 0)[1]
        assert flights.find("k") is flight
        go.set()
        assert flight.wait(10) is True
        print(os.waitstatus_to_exitcode(status))
        """
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout.strip(), ran.stderr) == ("7", "")


def test_nothing_is_started_by_the_import():
    """No thread, no event loop."""
    script = "import threading, amocrm_userauth; print(threading.active_count())"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "1"


def test_a_request_within_its_deadline_returns_or_raises():
    """What the work did is what the caller gets."""
    assert Deadline().run(10, lambda: "done", lambda: pytest.fail("gave up")) == "done"
    with pytest.raises(OSError, match="example"):
        Deadline().run(10, broken, lambda: None)


def broken():
    raise OSError("example")


def test_a_request_past_its_deadline_is_given_up():
    """The caller goes on at once; the thread is freed by ``give_up``."""
    work, gave_up = Work(), []
    with pytest.raises(TimeoutError):
        Deadline().run(0.02, work, lambda: gave_up.append(1))
    assert gave_up == [1]
    work.go.set()


def test_every_item_is_worked_on_with_bounded_concurrency():
    """No more at once than allowed; an empty list is fine."""
    at_once, most, lock, done = 0, 0, threading.Lock(), []

    def work(item):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.002)
        with lock:
            at_once -= 1
            done.append(item)

    for_each(work, list(range(20)), 3)
    assert sorted(done) == list(range(20))
    assert most <= 3
    for_each(work, [], 3)


def test_an_error_in_the_work_on_an_item_is_raised():
    """By the caller's thread."""
    with pytest.raises(OSError, match="example"):
        for_each(lambda _: broken(), [1], 1)


def test_the_clock_goes_on_and_pauses_are_jittered(monkeypatch: pytest.MonkeyPatch):
    """Between half and the whole of what was asked for."""
    slept = []
    monkeypatch.setattr(_pairs.time, "sleep", slept.append)
    clock = Time()
    for _ in range(200):
        clock.sleep_jittered(10)
    assert 5 <= min(slept) < 6
    assert 9 < max(slept) <= 10
    assert clock.monotonic() <= clock.monotonic()


def test_an_error_is_copied_for_each_who_raises_it():
    """With its data, without the other's traceback."""
    error = NotConnected(user_id="42")
    try:
        raise error
    except NotConnected:
        copied = fresh(error)
    assert copied is not error
    assert copied.user_id == "42"
    assert copied.__traceback__ is None


def test_the_launcher_starts_a_thread_that_is_no_daemon():
    """The end of the interpreter waits for the pair to be stored."""
    mine, kinds = set(), []
    flight = Flight(lambda: kinds.append(threading.current_thread().daemon))
    _pairs._launch(flight, mine)
    flight.wait(10)
    Flights.join(mine)
    assert kinds == [False]
    assert mine == set()


def test_a_launcher_without_threads_fails_the_work(monkeypatch: pytest.MonkeyPatch):
    """Those who wait are told, now and later."""

    def no_threads(self):
        raise RuntimeError("can't start new thread")

    flight = Flight(lambda: "done")
    monkeypatch.setattr(_pairs.threading.Thread, "start", no_threads)
    _pairs._launch(flight, set())
    assert flight.begun
    for _ in range(2):
        with pytest.raises(RuntimeError, match="new thread"):
            flight.wait(10)


def test_another_process_has_nothing_under_way(monkeypatch: pytest.MonkeyPatch):
    """What was started before the fork is the parent's."""
    flights, work, mine = Flights(), Work(), set()
    flights.start("k", work, mine)
    process = os.getpid()
    with monkeypatch.context() as child:
        child.setattr(_pairs.os, "getpid", lambda: process + 1)
        assert flights.find("k") is None
    work.go.set()
    Flights.join(mine)
