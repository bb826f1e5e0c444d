"""Work in tasks that outlives its callers, per event loop."""

import asyncio
import gc
import threading

import pytest

from amocrm_userauth._pairs import AsyncDeadline, AsyncFlights, AsyncTime, async_for_each


class Work:
    """Blocks until it is let go, and counts its runs."""

    def __init__(self, outcome="done"):
        self.outcome = outcome
        self.runs = 0
        self.go = asyncio.Event()

    async def __call__(self):
        self.runs += 1
        await self.go.wait()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


async def test_equal_keys_share_one_piece_of_work():
    """Ten callers, one run, ten outcomes."""
    flights, work, mine = AsyncFlights(), Work(), set()

    async def call():
        return await flights.start("k", work, mine).wait(10)

    calls = [asyncio.create_task(call()) for _ in range(10)]
    await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(*calls) == ["done"] * 10
    assert work.runs == 1
    assert flights.find("k") is None
    assert mine == set()


async def test_a_cancelled_waiter_leaves_the_work_running():
    """The first, the last, all of them."""
    flights, work, mine = AsyncFlights(), Work(), set()
    flight = flights.start("k", work, mine)
    waiters = [asyncio.create_task(flight.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    for waiter in waiters:
        waiter.cancel()
    ended = await asyncio.gather(*waiters, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended)
    assert flights.find("k") is not None
    work.go.set()
    assert await flight.wait(10) == "done"
    assert work.runs == 1


async def test_a_waiter_whose_time_is_over_leaves_the_work_running():
    """Its own timeout, or one around it."""
    flights, work, mine = AsyncFlights(), Work(), set()
    flight = flights.start("k", work, mine)
    with pytest.raises(TimeoutError):
        await flight.wait(0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await flight.wait()
    work.go.set()
    assert await flight.wait() == "done"


async def test_an_error_reaches_every_waiter():
    """Also those who come later; and nobody need wait for it."""
    flights, work, mine = AsyncFlights(), Work(OSError("example")), set()
    flight = flights.start("k", work, mine)
    work.go.set()
    ended = await asyncio.gather(flight.wait(), flight.wait(), return_exceptions=True)
    assert all(isinstance(one, OSError) for one in ended)
    with pytest.raises(OSError, match="example"):
        await flight.wait()


async def test_an_error_that_nobody_waits_for_is_no_complaint():
    """Asyncio would say that it was never retrieved."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    flights, work, mine = AsyncFlights(), Work(OSError("example")), set()
    flights.start("k", work, mine)
    work.go.set()
    await AsyncFlights.join(mine)
    gc.collect()
    assert complaints == []


async def test_join_waits_for_what_is_mine():
    """Also for what is started meanwhile."""
    flights, first, second, mine = AsyncFlights(), Work(), Work(), set()
    flights.start("1", first, mine)
    joining = asyncio.create_task(AsyncFlights.join(mine))
    await asyncio.sleep(0)
    flights.start("2", second, mine)
    first.go.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not joining.done()
    second.go.set()
    await joining
    assert mine == set()


async def test_a_cancelled_join_waits_all_the_same():
    """Nothing may be torn down before the pair is stored; the cancellation comes after."""
    flights, work, mine = AsyncFlights(), Work(), set()
    flight = flights.start("k", work, mine)
    joining = asyncio.create_task(AsyncFlights.join(mine))
    for _ in range(3):
        await asyncio.sleep(0)
        joining.cancel()
        await asyncio.sleep(0)
    assert not joining.done()
    work.go.set()
    with pytest.raises(asyncio.CancelledError):
        await joining
    assert await flight.wait(0) == "done"


def test_a_closed_loop_leaves_nothing_for_the_next():
    """Torn down in the middle: the next loop neither joins nor waits for what can never end."""
    flights, mine = AsyncFlights(), set()

    async def begin():
        flights.start("k", Work(), mine)
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(begin())
    loop.close()

    async def go_on():
        assert flights.find("k") is None
        await AsyncFlights.join(mine)
        work = Work("next")
        work.go.set()
        return await flights.start("k", work, mine).wait(10)

    assert asyncio.run(go_on()) == "next"
    assert len(mine) == 1
    (stuck,) = mine
    stuck._log_destroy_pending = False


def test_a_loop_that_ends_cancels_the_work_and_its_waiters():
    """As ``asyncio.run`` does; nothing stays behind."""
    flights, mine, ended = AsyncFlights(), set(), []

    async def wait(flight):
        try:
            await flight.wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def begin():
        flight = flights.start("k", Work(), mine)
        waiter = asyncio.create_task(wait(flight))
        await asyncio.sleep(0)
        return waiter

    asyncio.run(begin())
    assert ended == ["cancelled"]
    assert mine == set()


def test_two_loops_in_two_threads_work_side_by_side():
    """A task of one loop cannot be awaited in the other: each has its own."""
    flights, outcomes, barrier = AsyncFlights(), [], threading.Barrier(2)

    async def call(name):
        async def work():
            await asyncio.to_thread(barrier.wait, 10)
            return name

        return await flights.start("k", work, set()).wait(10)

    threads = [threading.Thread(target=lambda name=name: outcomes.append(asyncio.run(call(name)))) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["a", "b"]


async def test_a_request_past_its_deadline_is_cancelled():
    """The caller goes on at once; within it, what the work did is what the caller gets."""
    ended = []

    async def work():
        try:
            await asyncio.sleep(30)
        finally:
            ended.append("ended")

    with pytest.raises(TimeoutError):
        await AsyncDeadline().run(0.01, work, lambda: None)
    assert ended == ["ended"]
    quick = Work()
    quick.go.set()
    assert await AsyncDeadline().run(10, quick, lambda: None) == "done"


async def test_every_item_is_worked_on_with_bounded_concurrency():
    """No more at once than allowed; an empty list is fine."""
    at_once, most, done = 0, 0, []

    async def work(item):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        done.append(item)

    await async_for_each(work, list(range(20)), 3)
    assert sorted(done) == list(range(20))
    assert most == 3
    await async_for_each(work, [], 3)


async def test_the_clock_goes_on_and_pauses_are_jittered():
    """Between half and the whole of what was asked for."""
    slept = []

    class Clock(AsyncTime):
        async def sleep(self, seconds):
            slept.append(seconds)

    clock = Clock()
    for _ in range(200):
        await clock.sleep_jittered(10)
    assert 5 <= min(slept) < 6
    assert 9 < max(slept) <= 10
    await AsyncTime().sleep(0)
    assert clock.monotonic() <= clock.monotonic()
