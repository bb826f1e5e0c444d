"""Every order of steps of a few callers, with the real service and the real store in memory.

A *world* (``world.py``) holds two or three processes, each with a service of its own, over one store, and a light model
of amoCRM. Nothing in it happens by itself: a scheduler lets one thing happen at a time. ``explorer.py`` goes through
every order depth-first, by running the world anew for each, and ``judge.py`` holds each to the invariants.

What a step is. A call to the store takes effect at one step. The granting of a lease and its arrival at the holder are
two, as time may pass in between; for the other calls the return is one with the effect, because what a process does
until its next step touches nothing that others see. A request to amoCRM is two: amoCRM does its work, and the answer
arrives. A timer that is due is a step. So are: time that passes (91 s: more than a lease; whoever stands at a step is
stopped meanwhile), a crash, a cancellation before or after the effect of what the caller waits for, and a failure of
amoCRM or the store. A request stays on the wire when its sender has crashed or given up, and may arrive later. Those
that may happen in a scenario, and how often, is said by its ``Rules``; all orders of them are explored.

Why leaving some orders out is sound.

- *States that were seen are not explored again.* A process is deterministic, so where it stands is given by what it has
  seen, in its order. The state is that, of each process, with the rows, amoCRM's tokens, the time, what may still
  happen, and what the judge remembers. It is kept as a 64-bit hash; two of the some 100 000 states would meet with a
  probability of less than one in a thousand million.
- *Sleep sets.* Two steps of different processes that touch different things (a row, a code, amoCRM, a budget), or only
  read them, commute; of the two orders one is explored. The passing of time commutes with nothing. On meeting a state
  again, only what was asleep there every time is left out.
- *Local steps first.* Once no time can pass any more, a process whose next steps touch nothing shared takes them at once.
- *Waiting.* One who waits for another looks again when something was stored or time has passed: a look that shows the
  same changes nothing but the length of the next pause.

``test_search.py`` compares the ends with those of the search without any of the first three.

What is made small: the wait for a silent holder is two looks instead of twenty, a failed save is tried once more, and a
pause passes only for the one who pauses (as if clocks differed by less than a second).

``python -m tests.interleavings`` prints what was explored. A schedule that breaks an invariant is printed as steps, and
``python -m tests.interleavings --replay '<scenario>/<reading>: <steps>'`` runs it again.
"""
