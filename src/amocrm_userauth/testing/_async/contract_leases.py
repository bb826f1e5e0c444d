"""The part of the store suite on leases, commits and failures: the conditional writes that keep a grant alive."""

from dataclasses import replace
from functools import partial

from amocrm_userauth._core.model import Failure, UserToken
from amocrm_userauth.testing._async.contract_base import (
    NOW,
    AsyncStore,
    AsyncStoreSuite,
    later,
    plain,
    some_pair,
    some_token,
)
from amocrm_userauth.testing._worlds import async_case, async_together

__all__ = ["AsyncLeaseContract"]

_CALLERS = 8
_ROUNDS = 2


class AsyncLeaseContract(AsyncStoreSuite):
    """Who may spend a refresh token, and whose answer is kept."""

    async def _leased(self, store: AsyncStore, holder: str = "a", /, **changes: object) -> UserToken:
        user = self.user_id("bob")
        await store.put(some_token(user, **changes))
        row = await store.take_lease(user, revision="rev-1", holder=holder, until=later(90), now=NOW)
        assert row is not None
        return row

    @async_case
    async def test_a_free_lease_is_granted(self, store: AsyncStore) -> None:
        """The row comes back with the lease on it, its tokens, and nothing else changed."""
        row = await self._leased(store)
        expected = some_token(self.user_id("bob"), lease_holder="a", lease_until=later(90))
        assert plain(row) == plain(expected)
        assert plain(await store.get(self.user_id("bob"))) == plain(expected)

    @async_case
    async def test_a_lease_is_exclusive(self, store: AsyncStore) -> None:
        """While it runs nobody else gets it, and the row that comes back names the holder."""
        held = await self._leased(store)
        row = await store.take_lease(self.user_id("bob"), revision="rev-1", holder="b", until=later(99), now=later(89))
        assert plain(row) == plain(held)

    @async_case
    async def test_a_lease_is_for_the_revision_that_was_read(self, store: AsyncStore) -> None:
        """A caller who read an older pair gets no lease, and sees the newer pair."""
        user = self.user_id("bob")
        await store.put(some_token(user, "rev-2"))
        row = await store.take_lease(user, revision="rev-1", holder="a", until=later(90), now=NOW)
        assert plain(row) == plain(some_token(user, "rev-2"))

    @async_case
    async def test_revisions_and_holders_compare_exactly(self, store: AsyncStore) -> None:
        """A revision or holder that differs in case or by a space is another one."""
        held = await self._leased(store)
        user = self.user_id("bob")
        for holder in ("A", "a "):
            await store.take_lease(user, revision="rev-1", holder=holder, until=later(99), now=NOW)
            await store.note_failure(user, revision="rev-1", holder=holder, failure=Failure(failures=1))
        for revision in ("REV-1", "rev-1 "):
            await store.take_lease(user, revision=revision, holder="a", until=later(99), now=NOW)
            await store.commit(some_token(user, "rev-2"), over=revision, keep_previous=False)
            await store.delete(user, revision=revision)
        assert plain(await store.get(user)) == plain(held)

    @async_case
    async def test_without_a_row_there_is_no_lease(self, store: AsyncStore) -> None:
        """A disconnected user has nothing to lease, and taking one makes no row."""
        user = self.user_id("bob")
        assert await store.take_lease(user, revision="rev-1", holder="a", until=later(90), now=NOW) is None
        assert await store.get(user) is None

    @async_case
    async def test_the_holder_may_take_it_again(self, store: AsyncStore) -> None:
        """The holder prolongs a running lease; that is no reason for doubt."""
        await self._leased(store)
        row = await store.take_lease(self.user_id("bob"), revision="rev-1", holder="a", until=later(120), now=later(30))
        assert row is not None
        assert (row.lease_holder, row.lease_until, row.in_doubt) == ("a", later(120), False)

    @async_case
    async def test_the_holder_may_take_a_lease_that_ran_out_again(self, store: AsyncStore) -> None:
        """The holder knows what became of its own spend, so its own late return sets no doubt."""
        await self._leased(store)
        row = await store.take_lease(
            self.user_id("bob"), revision="rev-1", holder="a", until=later(300), now=later(200)
        )
        assert row is not None
        assert (row.lease_holder, row.lease_until, row.in_doubt) == ("a", later(300), False)

    @async_case
    async def test_taking_over_a_lease_that_ran_out_sets_doubt(self, store: AsyncStore) -> None:
        """The silent holder may have spent the token: the revision is in doubt from the moment its lease ends."""
        await self._leased(store)
        row = await store.take_lease(self.user_id("bob"), revision="rev-1", holder="b", until=later(180), now=later(90))
        assert row is not None
        assert (row.lease_holder, row.lease_until, row.in_doubt) == ("b", later(180), True)

    @async_case
    async def test_a_free_lease_leaves_doubt_as_it_is(self, store: AsyncStore) -> None:
        """Taking a free lease neither sets nor clears doubt."""
        row = await self._leased(store, in_doubt=True)
        assert (row.lease_holder, row.in_doubt) == ("a", True)

    @async_case
    async def test_a_rejection_is_noted_with_a_granted_lease_only(self, store: AsyncStore) -> None:
        """``rejected`` notes the time, so that refreshes for refused calls can be limited."""
        user = self.user_id("bob")
        await self._leased(store)
        row = await store.take_lease(user, revision="rev-1", holder="b", until=later(99), now=later(1), rejected=True)
        assert row is not None
        assert row.rejected_at is None
        row = await store.take_lease(user, revision="rev-1", holder="a", until=later(99), now=later(2), rejected=True)
        assert row is not None
        assert row.rejected_at == later(2)
        row = await store.take_lease(user, revision="rev-1", holder="a", until=later(99), now=later(3))
        assert row is not None
        assert row.rejected_at == later(2)

    @async_case
    async def test_of_many_takers_one_gets_the_lease(self, store: AsyncStore) -> None:
        """However many callers ask at once, one is granted and all see the same holder."""
        for number in range(_ROUNDS):
            user = self.user_id(f"user-{number}")
            await store.put(some_token(user))
            take = partial(store.take_lease, user, revision="rev-1", until=later(90), now=NOW)
            rows = await async_together([partial(take, holder=f"holder-{caller}") for caller in range(_CALLERS)])
            granted = [row for caller, row in enumerate(rows) if row and row.lease_holder == f"holder-{caller}"]
            assert len(granted) == 1
            assert {row.lease_holder for row in rows if row} == {granted[0].lease_holder}

    @async_case
    async def test_of_many_who_take_over_one_gets_the_lease(self, store: AsyncStore) -> None:
        """A lease that ran out is taken over once."""
        await self._leased(store)
        user = self.user_id("bob")
        take = partial(store.take_lease, user, revision="rev-1", until=later(290), now=later(200))
        rows = await async_together([partial(take, holder=f"holder-{caller}") for caller in range(_CALLERS)])
        assert sum(row is not None and row.lease_holder == f"holder-{n}" for n, row in enumerate(rows)) == 1

    @async_case
    async def test_a_commit_replaces_the_pair(self, store: AsyncStore) -> None:
        """Pair, revision, client and time are the new ones; the code's hash and the last rejection stay."""
        user = self.user_id("bob")
        await store.put(some_token(user, rejected_at=later(-5)))
        pair = some_pair("new", domain="moved.amocrm.ru", account_id="7", scopes=("crm",), expires_at=later(99))
        new = some_token(user, "rev-2", pair=pair, client_id="other-example", code_hash="", pair_saved_at=later(3))
        row = await store.commit(new, over="rev-1", keep_previous=False)
        expected = replace(new, code_hash="5" * 64, rejected_at=later(-5))
        assert plain(row) == plain(expected)
        assert plain(await store.get(user)) == plain(expected)

    @async_case
    async def test_a_commit_ends_lease_failures_and_mark(self, store: AsyncStore) -> None:
        """A new pair ends everything that was wrong with the old one, also when it comes late."""
        wrong: dict[str, object] = {
            "in_doubt": True,
            "failures": 4,
            "retry_at": later(9),
            "failure": "amocrm_unavailable",
            "reauth_reason": "revoked",
            "reauth_at": later(1),
        }
        await self._leased(store, **wrong)
        new = some_token(self.user_id("bob"), "rev-2")
        row = await store.commit(new, over="rev-1", keep_previous=False)
        assert plain(row) == plain(new)

    @async_case
    async def test_a_commit_needs_the_revision_and_no_lease(self, store: AsyncStore) -> None:
        """A holder that overran its lease may have the only good pair: it is stored all the same."""
        user = self.user_id("bob")
        await self._leased(store, "late")
        await store.take_lease(user, revision="rev-1", holder="next", until=later(190), now=later(100))
        row = await store.commit(some_token(user, "rev-2"), over="rev-1", keep_previous=False)
        assert row is not None
        assert (row.revision, row.lease_holder, row.in_doubt) == ("rev-2", None, False)

    @async_case
    async def test_a_commit_over_another_revision_changes_nothing(self, store: AsyncStore) -> None:
        """After a reconnect the late answer is dropped, and the reconnect's row comes back."""
        user = self.user_id("bob")
        await store.put(some_token(user, "rev-9"))
        row = await store.commit(some_token(user, "rev-2"), over="rev-1", keep_previous=True)
        assert plain(row) == plain(some_token(user, "rev-9"))
        assert plain(await store.get(user)) == plain(some_token(user, "rev-9"))

    @async_case
    async def test_a_commit_after_a_disconnect_makes_no_row(self, store: AsyncStore) -> None:
        """A late answer does not connect a user again."""
        user = self.user_id("bob")
        assert await store.commit(some_token(user, "rev-2"), over="rev-1", keep_previous=False) is None
        assert await store.get(user) is None

    @async_case
    async def test_a_repeated_commit_finds_its_own_revision(self, store: AsyncStore) -> None:
        """Whoever repeats a commit because the answer was lost can see that it had succeeded."""
        user = self.user_id("bob")
        await store.put(some_token(user))
        new = some_token(user, "rev-2", pair=some_pair("new"))
        first = await store.commit(new, over="rev-1", keep_previous=False)
        second = await store.commit(new, over="rev-1", keep_previous=False)
        assert plain(second) == plain(first)
        assert second is not None
        assert second.revision == "rev-2"

    @async_case
    async def test_a_commit_keeps_the_spent_token_where_asked(self, store: AsyncStore) -> None:
        """``keep_previous`` stores the token that was spent, for a fallback."""
        user = self.user_id("bob")
        await store.put(some_token(user))
        new = some_token(user, "rev-2", previous_refresh_token="example-spent")
        assert plain(await store.commit(new, over="rev-1", keep_previous=True)) == plain(new)

    @async_case
    async def test_a_commit_over_a_row_in_doubt_keeps_the_spent_token(self, store: AsyncStore) -> None:
        """The doubt of the stored row counts, even if the caller does not know of it."""
        user = self.user_id("bob")
        await store.put(some_token(user, in_doubt=True))
        new = some_token(user, "rev-2", previous_refresh_token="example-spent")
        assert plain(await store.commit(new, over="rev-1", keep_previous=False)) == plain(new)

    @async_case
    async def test_an_undoubted_commit_drops_the_previous_token(self, store: AsyncStore) -> None:
        """Without doubt neither the spent token nor an older one is kept."""
        user = self.user_id("bob")
        await store.put(some_token(user, previous_refresh_token="example-older"))
        new = some_token(user, "rev-2", previous_refresh_token="example-spent")
        row = await store.commit(new, over="rev-1", keep_previous=False)
        assert plain(row) == plain(replace(new, previous_refresh_token=None))

    @async_case
    async def test_of_many_commits_over_one_revision_one_is_stored(self, store: AsyncStore) -> None:
        """Compare and swap: the first one wins, and all see its pair."""
        for number in range(_ROUNDS):
            user = self.user_id(f"user-{number}")
            await store.put(some_token(user))
            news = [some_token(user, f"rev-new-{caller}") for caller in range(_CALLERS)]
            commit = partial(store.commit, over="rev-1", keep_previous=False)
            rows = await async_together([partial(commit, new) for new in news])
            stored = await store.get(user)
            assert stored is not None
            assert {row.revision for row in rows if row} == {stored.revision}
            assert stored.pair == some_pair(stored.revision)

    @async_case
    async def test_a_failure_ends_the_lease(self, store: AsyncStore) -> None:
        """The holder writes what went wrong and lets go; the pair stays."""
        held = await self._leased(store)
        failure = Failure(in_doubt=True, failures=2, retry_at=later(60), failure="amocrm_unavailable")
        assert await store.note_failure(held.user_id, revision="rev-1", holder="a", failure=failure) is True
        expected = some_token(held.user_id, in_doubt=True, failures=2, retry_at=later(60), failure="amocrm_unavailable")
        assert plain(await store.get(held.user_id)) == plain(expected)

    @async_case
    async def test_a_failure_leaves_doubt_and_mark_as_they_are(self, store: AsyncStore) -> None:
        """Only a new pair ends doubt; a failure without a mark does not take one away."""
        held = await self._leased(store, in_doubt=True, reauth_reason="revoked", reauth_at=later(-1), failures=5)
        assert await store.note_failure(held.user_id, revision="rev-1", holder="a", failure=Failure()) is True
        expected = some_token(held.user_id, in_doubt=True, reauth_reason="revoked", reauth_at=later(-1))
        assert plain(await store.get(held.user_id)) == plain(expected)

    @async_case
    async def test_a_refusal_marks_the_row(self, store: AsyncStore) -> None:
        """The mark has a reason and a time; the row and its revision stay."""
        held = await self._leased(store)
        refusal = Failure(reauth_reason="expired", reauth_at=later(4))
        assert await store.note_failure(held.user_id, revision="rev-1", holder="a", failure=refusal) is True
        expected = some_token(held.user_id, reauth_reason="expired", reauth_at=later(4))
        assert plain(await store.get(held.user_id)) == plain(expected)

    @async_case
    async def test_only_the_holder_notes_a_failure(self, store: AsyncStore) -> None:
        """Nobody else condemns, whether they hold nothing, held it before, or hold an older revision."""
        held = await self._leased(store)
        refusal = Failure(in_doubt=True, failures=1, reauth_reason="revoked", reauth_at=NOW)
        user = held.user_id
        assert await store.note_failure(user, revision="rev-1", holder="b", failure=refusal) is False
        assert await store.note_failure(user, revision="rev-0", holder="a", failure=refusal) is False
        assert await store.note_failure(self.user_id("eve"), revision="rev-1", holder="a", failure=refusal) is False
        assert plain(await store.get(user)) == plain(held)

    @async_case
    async def test_a_failure_is_noted_once(self, store: AsyncStore) -> None:
        """After the lease has ended there is nothing left to write to."""
        held = await self._leased(store)
        assert await store.note_failure(held.user_id, revision="rev-1", holder="a", failure=Failure(failures=1)) is True
        assert (
            await store.note_failure(held.user_id, revision="rev-1", holder="a", failure=Failure(failures=9)) is False
        )
        row = await store.get(held.user_id)
        assert row is not None
        assert row.failures == 1
