"""The store suite has teeth: each of these stores breaks one rule, and the test of that rule fails."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from amocrm_userauth._async.memory import AsyncMemoryTokenStore
from amocrm_userauth._core.model import Failure, StateRecord, TokenPair, UserToken
from amocrm_userauth._pairs import AsyncTime
from amocrm_userauth.testing import AsyncStoreContract


async def _others_come_in_between() -> None:
    await AsyncTime().sleep(0.002)


class ReadsThenLeases(AsyncMemoryTokenStore):
    """Two steps where one conditional write belongs."""

    async def take_lease(self, user_id: str, *, holder: str, until: datetime, now: datetime, **rest: Any) -> Any:
        row = await self.get(user_id)
        if row is not None and row.lease_holder is None:
            await _others_come_in_between()
            self._rows[user_id] = replace(row, lease_holder=holder, lease_until=until)
            return self._rows[user_id]
        return await super().take_lease(user_id, holder=holder, until=until, now=now, **rest)


class ReadsThenCommits(AsyncMemoryTokenStore):
    """Checks the revision, and writes later."""

    async def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> Any:
        row = await self.get(token.user_id)
        if row is None or row.revision != over:
            return row
        await _others_come_in_between()
        self._rows[token.user_id] = replace(token, code_hash=row.code_hash, rejected_at=row.rejected_at)
        return self._rows[token.user_id]


class CommitsOverAnything(AsyncMemoryTokenStore):
    """Without compare and swap."""

    async def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> Any:
        row = await self.get(token.user_id)
        return row and await super().commit(token, over=row.revision, keep_previous=keep_previous)


class CommitsIntoTheVoid(AsyncMemoryTokenStore):
    """A late answer connects the user again."""

    async def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> Any:
        if await self.get(token.user_id) is None:
            await self.put(token)
        return await super().commit(token, over=over, keep_previous=keep_previous)


class CommitsForHoldersOnly(AsyncMemoryTokenStore):
    """A holder that overran its lease loses its pair."""

    async def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> Any:
        row = await self.get(token.user_id)
        if row is not None and row.in_doubt:
            return row
        return await super().commit(token, over=over, keep_previous=keep_previous)


class TakesOverWithoutDoubt(AsyncMemoryTokenStore):
    """Forgets that the silent holder may have spent the token."""

    async def take_lease(self, user_id: str, **rest: Any) -> Any:
        row = await super().take_lease(user_id, **rest)
        if row is not None:
            self._rows[user_id] = row = replace(row, in_doubt=False)
        return row


class LetsAnybodyCondemn(AsyncMemoryTokenStore):
    """Writes a failure whoever holds the lease."""

    async def note_failure(self, user_id: str, *, revision: str, holder: str, failure: Failure) -> bool:
        row = await self.get(user_id)
        holder = (row and row.lease_holder) or holder
        return await super().note_failure(user_id, revision=revision, holder=holder, failure=failure)


class AcceptsNoncesTwice(AsyncMemoryTokenStore):
    """Each claim is as good as the first."""

    async def claim(self, *, nonce_hash: str, **rest: Any) -> StateRecord:
        self._states.pop(nonce_hash, None)
        return await super().claim(nonce_hash=nonce_hash, **rest)


class ReadsThenClaims(AsyncMemoryTokenStore):
    """Looks whether the nonce is new, and claims it later."""

    async def claim(self, *, nonce_hash: str, **rest: Any) -> StateRecord:
        known = self._states.get(nonce_hash)
        await _others_come_in_between()
        if known is None:
            self._states.pop(nonce_hash, None)
        return await super().claim(nonce_hash=nonce_hash, **rest)


class RemembersTheLastCode(AsyncMemoryTokenStore):
    """The second code of a nonce replaces the first."""

    async def remember_code(self, *, nonce_hash: str, **rest: Any) -> bool:
        self._states.pop(nonce_hash, None)
        return await super().remember_code(nonce_hash=nonce_hash, **rest)


class LetsAnybodyFinish(AsyncMemoryTokenStore):
    """Ends a claim whoever asks."""

    async def finish(self, *, nonce_hash: str, claimant: str, outcome: str) -> bool:
        known = self._states.get(nonce_hash)
        return await super().finish(
            nonce_hash=nonce_hash, claimant=known.claimant if known else claimant, outcome=outcome
        )


class ComparesLoosely(AsyncMemoryTokenStore):
    """As a database does whose collation ignores case and trailing spaces."""

    async def get(self, user_id: str, *, with_tokens: bool = True) -> UserToken | None:
        return next(
            (row for found, row in self._rows.items() if found.lower().rstrip() == user_id.lower().rstrip()), None
        )


class TakesAnyId(AsyncMemoryTokenStore):
    """Stores a row for an anonymous user."""

    def canonical_user_id(self, user_id: str) -> str:
        return str(user_id)


class LosesMicroseconds(AsyncMemoryTokenStore):
    """As a plain DATETIME column does."""

    async def put(self, token: UserToken) -> None:
        await super().put(replace(token, pair_saved_at=token.pair_saved_at.replace(microsecond=0)))


class HandsOutNaiveTimes(AsyncMemoryTokenStore):
    """As SQLite does."""

    async def put(self, token: UserToken) -> None:
        await super().put(replace(token, pair_saved_at=token.pair_saved_at.replace(tzinfo=None)))


class CutsTokensOff(AsyncMemoryTokenStore):
    """As a column of 2000 characters does."""

    async def put(self, token: UserToken) -> None:
        pair = token.pair
        cut = TokenPair(
            access_token=pair.access_token[:2000], refresh_token=pair.refresh_token[:2000], expires_at=pair.expires_at
        )
        await super().put(replace(token, pair=cut))


class PagesWithGaps(AsyncMemoryTokenStore):
    """Goes on after the time alone, so that rows saved at one moment are left out."""

    async def list_due(self, *, saved_before: datetime, after: Any = None, limit: int = 100) -> list[UserToken]:
        after = after and (after[0] + timedelta(microseconds=1), "")
        return await super().list_due(saved_before=saved_before, after=after, limit=limit)


class ListsMarkedRows(AsyncMemoryTokenStore):
    """Keeps refused grants alive."""

    async def list_due(self, *, saved_before: datetime, after: Any = None, limit: int = 100) -> list[UserToken]:
        return [row for row in self._rows.values() if row.pair_saved_at < saved_before]


BROKEN = [
    (ReadsThenLeases, "test_of_many_takers_one_gets_the_lease"),
    (ReadsThenCommits, "test_of_many_commits_over_one_revision_one_is_stored"),
    (CommitsOverAnything, "test_a_commit_over_another_revision_changes_nothing"),
    (CommitsIntoTheVoid, "test_a_commit_after_a_disconnect_makes_no_row"),
    (CommitsForHoldersOnly, "test_a_commit_needs_the_revision_and_no_lease"),
    (TakesOverWithoutDoubt, "test_taking_over_a_lease_that_ran_out_sets_doubt"),
    (LetsAnybodyCondemn, "test_only_the_holder_notes_a_failure"),
    (AcceptsNoncesTwice, "test_a_claim_under_way_is_not_given_twice"),
    (ReadsThenClaims, "test_of_many_claimants_one_is_granted"),
    (RemembersTheLastCode, "test_the_first_code_of_a_nonce_stands"),
    (LetsAnybodyFinish, "test_only_the_claimant_finishes"),
    (ComparesLoosely, "test_ids_that_look_alike_are_different_users"),
    (ComparesLoosely, "test_a_lookalike_touches_nobody"),
    (TakesAnyId, "test_ids_that_name_nobody_are_refused"),
    (LosesMicroseconds, "test_times_are_aware_and_exact"),
    (HandsOutNaiveTimes, "test_times_are_aware_and_exact"),
    (CutsTokensOff, "test_long_tokens_come_back_whole"),
    (PagesWithGaps, "test_pages_of_due_rows_join_without_gap_or_overlap"),
    (ListsMarkedRows, "test_due_rows_come_oldest_first"),
]


@pytest.mark.parametrize(("broken", "name"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_store_fails_the_suite(broken: type[AsyncMemoryTokenStore], name: str) -> None:
    """The test of the rule that the store breaks fails, and says so by an assertion."""

    class Suite(AsyncStoreContract):
        def make_store(self) -> AsyncMemoryTokenStore:
            return broken()

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(Suite(), name)()


def test_every_rule_says_what_is_true() -> None:
    """Each test of the suite has a sentence for those whose store fails it."""
    names = [name for name in dir(AsyncStoreContract) if name.startswith("test_")]
    assert len(names) > 50
    assert [name for name in names if not (getattr(AsyncStoreContract, name).__doc__ or "").endswith(".")] == []


def test_without_a_store_the_suite_says_so() -> None:
    """A subclass that gives no store is told."""
    with pytest.raises(NotImplementedError):
        AsyncStoreContract().make_store()
