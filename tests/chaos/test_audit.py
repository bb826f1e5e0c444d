"""The audit finds each kind of breach in a made-up history, and lets pass what no client can help."""

from typing import Any

import pytest

from tests.chaos.audit import audited
from tests.chaos.facts import History
from tests.chaos.findings import Audit
from tests.chaos.journal import Record  # noqa: TC001 - with the others

USER = "u1"


class Tale:
    """A history in the making: one user, connected at 0 with token ``A``, and what happened to them."""

    def __init__(self, rotation: str = "strict") -> None:
        self.rotation = rotation
        self.records: list[Record] = []
        self.presentations: list[Record] = []
        self.ledger: list[Record] = []
        self.numbers = 0
        for worker in ("w1", "w2"):
            self.tell(-9, "run", "born", on=worker, skew=0.0)
        self.issue(0, "A", "")
        self.put(0, "w1", "A")
        self.row: Record | None = {"rev": "rA", "fp": "A", "mark": None}

    def tell(self, at: float, worker: str, kind: str, /, **more: Any) -> None:
        self.records.append({"t": float(at), "w": worker, "k": kind, **more})

    def number(self) -> str:
        self.numbers += 1
        return f"n{self.numbers}"

    def issue(self, at: float, token: str, parent: str, user: str = USER, state: str = "alive") -> None:
        known = {"user": user, "grant": 0, "fingerprint": token, "access_fingerprint": f"a{token}", "parent": parent}
        self.ledger.append({**known, "issued_at": at, "expires_at": at + 240, "ended_at": None, "state": state})

    def spend(self, token: str, state: str = "spent") -> None:
        next(entry for entry in self.ledger if entry["fingerprint"] == token)["state"] = state

    def put(self, at: float, worker: str, token: str, took: float = 1, error: str = "") -> None:
        number = self.number()
        self.tell(at, worker, "putting", id=number, u=USER, rev=f"r{token}", fp=token)
        self.tell(at + took, worker, "put", id=number, result=True, **({"error": error} if error else {}))

    def delete(self, at: float, worker: str = "w2") -> None:
        number = self.number()
        self.tell(at, worker, "deleting", id=number, u=USER, rev=None)
        self.tell(at + 1, worker, "deleted", id=number, result=True)

    def lease(self, at: float, worker: str, token: str, spare: str = "", *, doubt: bool = False) -> str:
        holder = f"h{self.number()}"
        known = {"u": USER, "rev": f"r{token}", "holder": holder, "fp": token, "spare": spare, "doubt": doubt}
        self.tell(at, worker, "lease", began=float(at), **known)
        return holder

    def ask(self, at: float, worker: str, token: str, holder: str) -> str:
        number = self.number()
        self.tell(at, worker, "asking", id=number, grant="refresh", fp=token, u=USER, holder=holder)
        self.tell(at, worker, "sending", id=number)
        return number

    def present(self, at: float, number: str, token: str, issued: str = "", **more: Any) -> None:
        """What amoCRM's books say of one request."""
        known = {
            "user": USER,
            "grant_type": "refresh_token",
            "fingerprint": token,
            "at": float(at),
            "request_id": number,
        }
        taken = {"outcome": "issued" if issued else "refused", "status": 200 if issued else 401, "issued": issued}
        hint = {"hint": "" if issued else "Token has been revoked"}
        self.presentations.append({**known, **taken, **hint, "answered": True, "answered_at": float(at), **more})
        if issued:
            self.issue(at, issued, token)
            self.spend(token)

    def exchange(self, at: float, number: str, code: str, issued: str) -> None:
        """What amoCRM's books say of a code."""
        known = {"user": USER, "grant_type": "authorization_code", "fingerprint": code, "at": float(at), "hint": ""}
        answer = {"status": 200 if issued else 400, "issued": issued, "answered": True, "answered_at": float(at)}
        outcome = "issued" if issued else "refused"
        self.presentations.append({**known, **answer, "request_id": number, "outcome": outcome})
        if issued:
            self.issue(at, issued, "")

    def answer(self, at: float, worker: str, number: str, issued: str = "") -> None:
        self.tell(at, worker, "answer", id=number, status=200 if issued else 401, issued=issued)

    def commit(self, at: float, worker: str, over: str, token: str, *, result: bool | None = True) -> None:
        number = self.number()
        self.tell(at, worker, "committing", id=number, u=USER, over=f"r{over}", rev=f"r{token}", fp=token, spare=over)
        if result is not None:
            self.tell(at + 1, worker, "committed", id=number, result=result)

    def note(self, at: float, worker: str, token: str, holder: str, mark: str | None = None) -> None:
        number = self.number()
        known = {"u": USER, "rev": f"r{token}", "holder": holder, "mark": mark, "doubt": mark is None}
        self.tell(at, worker, "noting", id=number, **known)
        self.tell(at + 1, worker, "noted", id=number, result=True)

    def call(
        self, at: float, took: float, out: str = "ok", op: str = "access_token", worker: str = "w1", **more: Any
    ) -> None:
        number = self.number()
        self.tell(at, worker, "call", id=number, op=op, u=USER)
        self.tell(at + took, worker, "end", id=number, op=op, u=USER, out=out, **more)

    def stop(self, worker: str, since: float, until: float) -> None:
        self.tell(since, "run", "stopped", on=worker)
        self.tell(until, "run", "continued", on=worker)

    def refresh(self, at: float, worker: str, old: str, new: str) -> None:
        """A refresh as it should be."""
        holder = self.lease(at, worker, old)
        number = self.ask(at + 1, worker, old, holder)
        self.present(at + 1, number, old, new)
        self.answer(at + 2, worker, number, new)
        self.commit(at + 3, worker, old, new)
        self.row = {"rev": f"r{new}", "fp": new, "mark": None}

    def lose(self, at: float, worker: str, token: str) -> None:
        """A new holder finds the token refused, and gives the grant up."""
        holder = self.lease(at, worker, token, doubt=True)
        number = self.ask(at + 1, worker, token, holder)
        self.present(at + 1, number, token)
        self.answer(at + 2, worker, number)
        self.note(at + 8, worker, token, holder, mark="revoked")
        self.row = {"rev": f"r{token}", "fp": token, "mark": "revoked"}

    def judged(self, *, final: bool = True) -> Audit:
        records = sorted(self.records, key=lambda record: record["t"])
        rows = {USER: self.row} if final else None
        return audited(History(records, self.presentations, self.ledger, rows, self.rotation))

    def broken(self) -> set[int]:
        return self.judged().rules


def test_a_quiet_history_breaks_nothing() -> None:
    """Connect, two refreshes, a caller."""
    tale = Tale()
    tale.refresh(10, "w1", "A", "B")
    tale.refresh(200, "w2", "B", "C")
    tale.call(204, 1, fp="aC")
    audit = tale.judged()
    assert not audit.violations
    assert not audit.losses


# invariant 1


def test_a_request_without_a_lease_is_found() -> None:
    """Whoever sent it."""
    tale = Tale()
    number = tale.ask(10, "w1", "A", "")
    tale.present(10, number, "A", "B")
    tale.answer(11, "w1", number, "B")
    tale.commit(12, "w1", "A", "B")
    tale.row = {"rev": "rB", "fp": "B", "mark": None}
    assert tale.broken() == {1}


def test_two_leases_at_once_are_found() -> None:
    """The second holder did not wait for the first one's end."""
    tale = Tale()
    for at, worker in ((10, "w1"), (12, "w2")):
        holder = tale.lease(at, worker, "A")
        tale.present(at + 1, tale.ask(at + 1, worker, "A", holder), "A", outcome="failed", status=500)
    assert tale.broken() == {1}


def test_a_second_lease_after_the_first_has_run_out_is_none() -> None:
    """The first holder fell silent."""
    tale = Tale()
    for at, worker in ((10, "w1"), (101, "w2")):
        holder = tale.lease(at, worker, "A")
        tale.present(at + 1, tale.ask(at + 1, worker, "A", holder), "A", outcome="failed", status=500)
    assert not tale.broken()


@pytest.mark.parametrize(
    ("hint", "status", "rules"), [("Invalid account", 400, set()), ("", 404, set()), ("", 500, {1})]
)
def test_only_a_moved_account_is_asked_twice_under_one_lease(hint: str, status: int, rules: set[int]) -> None:
    """Any other answer ends the lease."""
    tale = Tale()
    holder = tale.lease(10, "w1", "A")
    outcome = "failed" if status == 500 else "refused"
    tale.present(11, tale.ask(11, "w1", "A", holder), "A", outcome=outcome, status=status, hint=hint)
    tale.present(12, number := tale.ask(12, "w1", "A", holder), "A", "B")
    tale.answer(12, "w1", number, "B")
    tale.commit(13, "w1", "A", "B")
    tale.row = {"rev": "rB", "fp": "B", "mark": None}
    assert tale.broken() == rules


def test_a_token_whose_pair_was_stored_is_not_presented_again() -> None:
    """Unless it was kept as a spare."""
    tale = Tale()
    tale.refresh(10, "w1", "A", "B")
    holder = tale.lease(200, "w2", "B", spare="A")
    tale.present(201, tale.ask(201, "w2", "A", holder), "A")
    assert tale.broken() == {1}


def test_a_spare_is_presented_once_its_successor_is_refused() -> None:
    """It was kept because the first answer to it was lost."""
    tale = Tale("lenient")
    first = tale.lease(10, "w1", "A")
    number = tale.ask(11, "w1", "A", first)
    tale.present(11, number, "A", "B", answered=False, answered_at=None)
    tale.tell(12, "w1", "broken", id=number, error="RemoteProtocolError")
    tale.note(13, "w1", "A", first)
    second = tale.lease(20, "w2", "A", doubt=True)
    tale.present(21, number := tale.ask(21, "w2", "A", second), "A", "C")
    tale.answer(22, "w2", number, "C")
    tale.commit(23, "w2", "A", "C")
    third = tale.lease(200, "w1", "C", spare="A")
    tale.present(201, tale.ask(201, "w1", "C", third), "C")
    tale.present(202, number := tale.ask(202, "w1", "A", third), "A", "D")
    tale.answer(203, "w1", number, "D")
    tale.commit(204, "w1", "C", "D")
    tale.row = {"rev": "rD", "fp": "D", "mark": None}
    assert not tale.broken()


def test_a_whole_answer_that_was_thrown_away_is_found() -> None:
    """The holder had the pair, and noted an unknown outcome."""
    tale = Tale("lenient")
    holder = tale.lease(10, "w1", "A")
    number = tale.ask(11, "w1", "A", holder)
    tale.present(11, number, "A", "B")
    tale.answer(12, "w1", number, "B")
    tale.note(13, "w1", "A", holder)
    tale.spend("A", "alive")
    tale.refresh(20, "w2", "A", "C")
    assert tale.broken() == {1}


def test_a_request_long_after_its_lease_began_is_found() -> None:
    """The exchange budget was over."""
    tale = Tale()
    holder = tale.lease(10, "w1", "A")
    tale.present(60, tale.ask(60, "w1", "A", holder), "A", outcome="failed", status=500)
    assert tale.broken() == {1}


def test_a_request_that_was_stopped_on_its_way_to_the_wire_is_not_its_senders_fault() -> None:
    """Nobody can look at the clock and send in one step."""
    tale = Tale()
    old = tale.lease(10, "w1", "A")
    number = tale.ask(11, "w1", "A", old)
    tale.stop("w1", 11.5, 120)
    tale.refresh(101, "w2", "A", "B")
    tale.present(121, number, "A")
    assert not tale.broken()


def test_a_code_that_was_answered_is_not_exchanged_again() -> None:
    """Its state had been claimed."""
    tale = Tale()
    for at, issued in ((10, "B"), (12, "")):
        number = tale.number()
        tale.tell(at, "w1", "asking", id=number, grant="code", fp="X", u="", holder="")
        tale.exchange(at, number, "X", issued)
        tale.answer(at + 1, "w1", number, issued)
    assert tale.broken() == {1}


# invariant 2


def lost_answer(tale: Tale) -> str:
    """A holder presents ``A``, and amoCRM rotates it."""
    holder = tale.lease(10, "w1", "A")
    number = tale.ask(11, "w1", "A", holder)
    tale.present(11, number, "A", "B")
    return number


def test_who_is_lost_because_the_holder_was_killed_is_counted_by_name() -> None:
    """Under strict rotation nobody can help it."""
    tale = Tale()
    lost_answer(tale)
    tale.tell(12, "w1", "point", point="after the answer", u=USER, do="kill", number=1)
    tale.lose(110, "w2", "A")
    audit = tale.judged()
    assert not audit.violations
    (loss,) = audit.losses
    assert (loss.user, "killed at 'after the answer'" in loss.cause) == (USER, True)


def test_under_lenient_rotation_nobody_is_lost() -> None:
    """Not even by a kill: the token works again."""
    tale = Tale("lenient")
    lost_answer(tale)
    tale.tell(12, "run", "killed", on="w1")
    tale.lose(110, "w2", "A")
    assert tale.broken() == {2}


@pytest.mark.parametrize(
    ("error", "after", "rules"),
    [("RemoteProtocolError", 1, set()), ("CancelledError", 1, {2}), ("CancelledError", 20, set())],
)
def test_an_answer_is_lost_by_amocrm_or_by_its_budget_but_not_by_the_caller(
    error: str, after: int, rules: set[int]
) -> None:
    """A cut connection, a time-out; a cancelled caller is no excuse."""
    tale = Tale()
    number = lost_answer(tale)
    tale.presentations[-1] |= {"answered": False, "answered_at": None}
    tale.tell(11 + after, "w1", "broken", id=number, error=error)
    tale.lose(110, "w2", "A")
    assert tale.broken() == rules


def test_a_half_answer_is_a_lost_one() -> None:
    """It was seen, and told nothing."""
    tale = Tale()
    number = lost_answer(tale)
    tale.tell(12, "w1", "answer", id=number, status=200, issued="")
    tale.lose(110, "w2", "A")
    assert not tale.broken()


@pytest.mark.parametrize(("rotation", "rules"), [("strict", {2}), ("family", set())])
def test_a_holder_stopped_past_its_lease_is_an_excuse_under_family_only(rotation: str, rules: set[int]) -> None:
    """Under strict rotation its late pair must save the user."""
    tale = Tale(rotation)
    number = lost_answer(tale)
    tale.answer(12, "w1", number, "B")
    tale.stop("w1", 13, 150)
    tale.lose(110, "w2", "A")
    assert tale.broken() == rules


def test_a_late_pair_takes_the_mark_away() -> None:
    """Then nobody was lost."""
    tale = Tale()
    number = lost_answer(tale)
    tale.answer(12, "w1", number, "B")
    tale.stop("w1", 13, 150)
    tale.lose(110, "w2", "A")
    tale.commit(151, "w1", "A", "B")
    tale.row = {"rev": "rB", "fp": "B", "mark": None}
    audit = tale.judged()
    assert not audit.violations
    assert not audit.losses


def test_who_connected_anew_before_the_late_pair_came_was_only_asked_to() -> None:
    """Nobody knows whether a stopped process will go on."""
    tale = Tale()
    number = lost_answer(tale)
    tale.answer(12, "w1", number, "B")
    tale.stop("w1", 13, 150)
    tale.lose(110, "w2", "A")
    tale.issue(130, "Z", "")
    tale.put(130, "w2", "Z")
    tale.commit(151, "w1", "A", "B", result=False)
    tale.row = {"rev": "rZ", "fp": "Z", "mark": None}
    audit = tale.judged()
    assert not audit.violations
    assert "connect again" in audit.losses[0].cause


def test_a_dead_token_that_nobody_has_noticed_is_a_loss() -> None:
    """And one that was never spent has no excuse."""
    tale = Tale()
    tale.spend("A", "killed")
    assert tale.broken() == {2}


# invariant 3


@pytest.mark.parametrize("how", ["delete", "put", "commit"])
def test_a_late_pair_over_something_newer_is_found(how: str) -> None:
    """A disconnect, a reconnect, another refresh: each ended before the late commit began."""
    tale = Tale("lenient")
    if how == "delete":
        tale.delete(20)
    elif how == "put":
        tale.issue(20, "Z", "")
        tale.put(20, "w2", "Z")
    else:
        tale.refresh(20, "w2", "A", "Y")
        tale.spend("A", "alive")
    tale.issue(10, "B", "A")
    tale.commit(50, "w1", "A", "B")
    tale.row = {"rev": "rB", "fp": "B", "mark": None}
    assert 3 in tale.broken()


def test_a_commit_whose_outcome_is_unknown_may_have_been_made_in_time() -> None:
    """It began before the disconnect, and was repeated after it."""
    tale = Tale()
    tale.issue(10, "B", "A")
    tale.commit(10, "w1", "A", "B", result=None)
    tale.delete(12)
    tale.commit(14, "w1", "A", "B", result=False)
    tale.row = None
    assert not tale.broken()


def test_a_row_that_nobody_deleted_is_missed() -> None:
    """It was there, and is gone."""
    tale = Tale()
    tale.row = None
    assert tale.broken() == {3}


def test_a_row_that_nobody_wrote_is_found() -> None:
    """As is one older than the last write."""
    tale = Tale()
    tale.row = {"rev": "rQ", "fp": "A", "mark": None}
    assert tale.broken() == {3}


def test_an_older_row_at_the_end_is_found() -> None:
    """The last refresh was forgotten."""
    tale = Tale("lenient")
    tale.refresh(10, "w1", "A", "B")
    tale.spend("A", "alive")
    tale.row = {"rev": "rA", "fp": "A", "mark": None}
    assert tale.broken() == {3}


def test_a_connection_saved_after_a_disconnect_is_found() -> None:
    """Its connect call had ended long before."""
    tale = Tale()
    tale.issue(20, "Z", "")
    tale.put(20, "w1", "Z", error="StoreUnavailable")
    tale.call(19, 10, "token_not_saved", op="connect")
    tale.delete(40)
    tale.put(60, "w1", "Z")
    tale.row = {"rev": "rZ", "fp": "Z", "mark": None}
    assert tale.broken() == {3}


def test_anothers_token_is_found() -> None:
    """Handed out, or stored."""
    tale = Tale()
    tale.issue(0, "O", "", user="u2")
    tale.call(5, 1, fp="aO")
    assert tale.broken() == {3}


# invariant 4


@pytest.mark.parametrize("out", ["!KeyError", "configuration_error"])
def test_an_error_that_is_none_of_ours_is_found(out: str) -> None:
    """Or one of ours that is out of place."""
    tale = Tale()
    tale.call(5, 1, out)
    assert tale.broken() == {4}


def test_a_call_over_its_budget_is_found_unless_its_process_was_stopped() -> None:
    """Only the time in which it ran counts."""
    tale = Tale()
    tale.call(5, 100, worker="w1")
    assert tale.broken() == {4}
    tale.stop("w1", 10, 90)
    assert not tale.broken()


def test_a_call_that_never_ends_is_found_unless_its_process_died() -> None:
    """It hangs."""
    tale = Tale()
    tale.tell(5, "w1", "call", id="x", op="status", u=USER)
    assert tale.broken() == {4}
    tale.tell(6, "run", "killed", on="w1")
    assert not tale.broken()


@pytest.mark.parametrize(
    ("at", "skew", "rules"), [(200, 0.0, set()), (250, 0.0, {4}), (250, -20.0, set()), (270, -20.0, {4})]
)
def test_a_token_that_had_run_out_is_found(at: int, skew: float, rules: set[int]) -> None:
    """By amoCRM's clock; a worker whose clock is behind cannot know sooner."""
    tale = Tale()
    tale.records[0]["skew"] = skew
    tale.call(at, 1, fp="aA")
    assert tale.broken() == rules


def test_a_token_that_amocrm_never_issued_is_found() -> None:
    """It opens nothing."""
    tale = Tale()
    tale.call(5, 1, fp="a?")
    assert tale.broken() == {4}


def test_a_connected_user_who_is_told_otherwise_is_found() -> None:
    """Unless they disconnected meanwhile."""
    tale = Tale()
    tale.call(5, 1, "not_connected")
    assert tale.broken() == {4}
    tale.delete(4)
    tale.row = None
    assert not tale.broken()


@pytest.mark.parametrize("kind", ["crashed", "hangs", "unsettled"])
def test_a_process_that_ends_or_hangs_by_itself_is_found(kind: str) -> None:
    """And a user for whom no answer stays."""
    tale = Tale()
    tale.tell(9, "w1", kind, on="w1", at="close", status=1, u=USER, out="store_unavailable")
    assert tale.broken() == {4}


# invariant 5


@pytest.mark.parametrize(
    ("name", "more", "rules"),
    [
        ("rss MB", 10, set()),
        ("rss MB", 60, {5}),
        ("threads", 40, {5}),
        ("tasks", 5, {5}),
        ("files", 40, {5}),
        ("in use", 1, {5}),
    ],
)
def test_what_grows_is_found(name: str, more: int, rules: set[int]) -> None:
    """From when a worker had warmed up to the end."""
    tale = Tale()
    held = {"rss MB": 70.0, "threads": 12, "tasks": 15, "files": 20, "connections": 5, "in use": 0}
    tale.tell(5, "w1", "sample", why="warm", held=held)
    tale.tell(9, "w1", "sample", why="end", held={**held, name: held[name] + more})
    assert tale.broken() == rules


def test_connections_that_the_server_still_has_are_found() -> None:
    """More than the pools may keep."""
    tale = Tale()
    held = {"rss MB": 70.0, "threads": 12, "tasks": 15, "files": 20, "connections": 5, "in use": 0}
    tale.tell(8, "w1", "sample", why="end", held=held)
    tale.tell(9, "run", "connections", count=11, what="end")
    assert tale.broken() == {5}


def test_while_a_run_goes_on_only_what_is_certain_is_said() -> None:
    """A call may end yet, and a mark be taken away."""
    tale = Tale()
    tale.call(5, 1, "!KeyError")
    tale.tell(6, "w1", "call", id="x", op="status", u=USER)
    lost_answer(tale)
    tale.lose(110, "w2", "A")
    assert [violation.rule for violation in tale.judged(final=False).violations] == [4]


def test_a_violation_comes_with_its_story() -> None:
    """The journals' lines about that user."""
    tale = Tale()
    tale.call(5, 1, "!KeyError", why="example")
    audit = tale.judged()
    assert str(audit.violations[0]).startswith("invariant 4 (a valid token")
    assert any("!KeyError" in line for line in audit.stories[USER])
