"""The part of the store suite on rows: what goes in comes out, for this user and no other."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from amocrm_userauth._core.model import Failure
from amocrm_userauth.testing._async.contract_base import (
    NOW,
    AsyncStore,
    AsyncStoreSuite,
    later,
    plain,
    some_pair,
    some_token,
)
from amocrm_userauth.testing._worlds import async_case

__all__ = ["AsyncRowContract"]

_LONG = 4096
# Ids that a database may take for one another: by case, spaces, accents, normalisation, ligatures, wildcards.
_LOOKALIKES = (
    "bob", "Bob", "BOB", "bob ", " bob", "bob\t", "bób", "bo\N{COMBINING ACUTE ACCENT}b", "b%b", "b_b", "%", "b\\b",
    "strasse", "straße", "fi", "\N{LATIN SMALL LIGATURE FI}", "1", "01", "1.0", "İ", "i", "ı",
    "\N{CYRILLIC SMALL LETTER VE}ob", "\N{ZERO WIDTH SPACE}bob", "Иван 💼", "Иван 💾", "null", "'", '"', "a:b", "a/b",
)  # fmt: skip


class AsyncRowContract(AsyncStoreSuite):
    """What a store keeps of each row."""

    @async_case
    async def test_an_unknown_user_has_no_row(self, store: AsyncStore) -> None:
        """Nobody's row is handed out for a user without one."""
        assert await store.get(self.user_id("bob")) is None
        assert await store.get(self.user_id("bob"), with_tokens=False) is None

    @async_case
    async def test_every_field_comes_back(self, store: AsyncStore) -> None:
        """A row comes back as it was put, also the fields that are mostly empty."""
        token = some_token(
            self.user_id("bob"),
            previous_refresh_token="example-previous",
            in_doubt=True,
            lease_holder="holder-1",
            lease_until=later(90),
            failures=3,
            retry_at=later(60),
            failure="amocrm_unavailable",
            reauth_reason="revoked",
            reauth_at=later(1),
            rejected_at=later(2),
        )
        await store.put(token)
        assert plain(await store.get(self.user_id("bob"))) == plain(token)

    @async_case
    async def test_empty_fields_come_back_empty(self, store: AsyncStore) -> None:
        """What was never set comes back as it was: ``None``, empty text, no scopes."""
        token = some_token(
            self.user_id("bob"),
            pair=some_pair(account_id="", amocrm_user_id="", domain="", api_domain="", scopes=()),
            client_id="",
            code_hash="",
        )
        await store.put(token)
        assert plain(await store.get(self.user_id("bob"))) == plain(token)

    @async_case
    async def test_times_are_aware_and_exact(self, store: AsyncStore) -> None:
        """Times come back aware, to the microsecond, and as the same moment if they were of another zone."""
        moscow = NOW.astimezone(timezone(timedelta(hours=3)))
        await store.put(some_token(self.user_id("bob"), pair_saved_at=moscow, retry_at=moscow))
        row = await store.get(self.user_id("bob"))
        assert row is not None
        for time in (row.pair_saved_at, row.retry_at, row.pair.expires_at):
            assert isinstance(time, datetime)
            assert time.utcoffset() is not None
        assert (row.pair_saved_at, row.retry_at) == (NOW, NOW)

    @async_case
    async def test_times_around_a_change_of_clocks_stay_apart(self, store: AsyncStore) -> None:
        """An hour that a local clock shows twice is two hours."""
        first = datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
        second = first + timedelta(hours=1)
        await store.put(some_token(self.user_id("bob"), pair_saved_at=first, retry_at=second))
        row = await store.get(self.user_id("bob"))
        assert row is not None
        assert (row.pair_saved_at, row.retry_at) == (first, second)

    @async_case
    async def test_long_tokens_come_back_whole(self, store: AsyncStore) -> None:
        """Tokens of 4 KiB are not cut off."""
        pair = some_pair(access_token="a" * _LONG, refresh_token="r" * _LONG)
        await store.put(some_token(self.user_id("bob"), pair=pair, previous_refresh_token="p" * _LONG))
        row = await store.get(self.user_id("bob"))
        assert row is not None
        assert row.pair == pair
        assert plain(row)["previous_refresh_token"] == "p" * _LONG

    @async_case
    async def test_put_replaces_the_whole_row(self, store: AsyncStore) -> None:
        """A reconnect ends lease, doubt, mark and cool-down of the row it replaces."""
        user = self.user_id("bob")
        await store.put(some_token(user))
        await store.take_lease(user, revision="rev-1", holder="a", until=later(90), now=NOW, rejected=True)
        refused = Failure(in_doubt=True, failures=2, retry_at=later(5), reauth_reason="revoked", reauth_at=NOW)
        await store.note_failure(user, revision="rev-1", holder="a", failure=refused)
        await store.take_lease(user, revision="rev-1", holder="b", until=later(90), now=NOW)
        new = some_token(user, "rev-2", pair=some_pair("other", domain="other.amocrm.ru"), code_hash="6" * 64)
        await store.put(new)
        assert plain(await store.get(user)) == plain(new)

    @async_case
    async def test_without_tokens_the_rest_is_the_same(self, store: AsyncStore) -> None:
        """``with_tokens=False`` may leave the tokens out, and nothing else."""
        token = some_token(self.user_id("bob"), reauth_reason="revoked", reauth_at=NOW)
        await store.put(token)
        row = await store.get(self.user_id("bob"), with_tokens=False)
        assert row is not None
        left_out = {"pair", "previous_refresh_token"}
        assert {k: v for k, v in plain(row).items() if k not in left_out} == {
            k: v for k, v in plain(token).items() if k not in left_out
        }
        assert (row.pair.domain, row.pair.account_id, row.pair.expires_at) == (
            token.pair.domain,
            token.pair.account_id,
            token.pair.expires_at,
        )

    @async_case
    async def test_delete_says_whether_there_was_a_row(self, store: AsyncStore) -> None:
        """The first delete is true, the next one false, and the row is gone."""
        await store.put(some_token(self.user_id("bob")))
        await store.put(some_token(self.user_id("eve")))
        assert await store.delete(self.user_id("bob")) is True
        assert await store.delete(self.user_id("bob")) is False
        assert await store.get(self.user_id("bob")) is None
        assert await store.get(self.user_id("eve")) is not None

    @async_case
    async def test_delete_spares_another_revision(self, store: AsyncStore) -> None:
        """With a revision only that one is deleted: a reconnect in between survives."""
        await store.put(some_token(self.user_id("bob"), "rev-2"))
        assert await store.delete(self.user_id("bob"), revision="rev-1") is False
        assert await store.get(self.user_id("bob")) is not None
        assert await store.delete(self.user_id("bob"), revision="rev-2") is True
        assert await store.get(self.user_id("bob")) is None

    @async_case
    async def test_ids_that_look_alike_are_different_users(self, store: AsyncStore) -> None:
        """Ids compare character by character, for reading, leasing, failing, committing and deleting."""
        users = [self.user_id(name) for name in _LOOKALIKES]
        for number, user in enumerate(users):
            assert await store.get(user) is None, f"{user!r} got somebody else's row"
            await store.put(some_token(user, f"rev-{number}"))
        for number, user in enumerate(users):
            row = await store.get(user)
            assert row is not None
            assert (row.user_id, row.revision) == (user, f"rev-{number}")
        for number, user in enumerate(users):
            assert await store.delete(user, revision=f"rev-{number}") is True
            assert await store.get(user) is None

    @async_case
    async def test_a_lookalike_touches_nobody(self, store: AsyncStore) -> None:
        """A user without a row changes nothing of a user whose id looks the same."""
        token = some_token(self.user_id("bob"), "rev-1", lease_holder="a", lease_until=later(90))
        await store.put(token)
        for other in map(self.user_id, _LOOKALIKES[1:]):
            assert await store.get(other) is None
            lease = await store.take_lease(other, revision="rev-1", holder="b", until=later(99), now=later(95))
            assert lease is None
            assert await store.commit(some_token(other, "rev-2"), over="rev-1", keep_previous=False) is None
            assert await store.note_failure(other, revision="rev-1", holder="a", failure=Failure()) is False
            assert await store.delete(other) is False
        assert plain(await store.get(self.user_id("bob"))) == plain(token)

    @async_case
    async def test_ids_that_name_nobody_are_refused(self, store: AsyncStore) -> None:
        """``None`` and empty ids are a ``ValueError``, so that an anonymous user gets nobody's token."""
        for nobody in (None, "", 7, "x" * 256, "a\0b"):
            with pytest.raises(ValueError):  # noqa: PT011 - the words are the store's own
                store.canonical_user_id(nobody)  # type: ignore[arg-type]

    @async_case
    async def test_the_canonical_id_is_stable(self, store: AsyncStore) -> None:
        """A canonical id is its own canonical id, and any user can be stored under theirs."""
        user = store.canonical_user_id(self.user_id("bob"))
        assert store.canonical_user_id(user) == user
        await store.check_user(user)

    @async_case
    async def test_the_scope_is_an_object_and_a_name(self, store: AsyncStore) -> None:
        """The same store is in the same scope each time it is asked."""
        scope, name = store.shared_scope()
        again, name_again = store.shared_scope()
        assert scope is again
        assert name == name_again

    @async_case
    async def test_due_rows_come_oldest_first(self, store: AsyncStore) -> None:
        """Rows whose pair was saved before the bound are due, unless they are marked."""
        ids = {name: self.user_id(name) for name in ("oldest", "older", "bound", "new", "marked", "leased")}
        await store.put(some_token(ids["new"], pair_saved_at=later(1)))
        await store.put(some_token(ids["bound"], pair_saved_at=NOW))
        await store.put(some_token(ids["older"], pair_saved_at=later(-1)))
        await store.put(some_token(ids["leased"], pair_saved_at=later(-2), lease_holder="a", lease_until=later(9)))
        await store.put(some_token(ids["oldest"], pair_saved_at=later(-3)))
        await store.put(some_token(ids["marked"], pair_saved_at=later(-4), reauth_reason="revoked", reauth_at=NOW))
        rows = await store.list_due(saved_before=NOW)
        assert [row.user_id for row in rows] == [ids["oldest"], ids["leased"], ids["older"]]
        assert rows[1].lease_holder == "a"

    @async_case
    async def test_pages_of_due_rows_join_without_gap_or_overlap(self, store: AsyncStore) -> None:
        """Each page goes on after the key of the last row, also among rows saved at one moment."""
        users = [self.user_id(f"user-{number}") for number in range(7)]
        for number, user in enumerate(users):
            await store.put(some_token(user, pair_saved_at=later(-10 - number // 4)))
        seen: list[str] = []
        after: tuple[datetime, str] | None = None
        while page := await store.list_due(saved_before=NOW, after=after, limit=2):
            assert len(page) <= 2  # noqa: PLR2004 - the limit above
            seen += [row.user_id for row in page]
            after = (page[-1].pair_saved_at, page[-1].user_id)
        assert sorted(seen) == sorted(users)
        assert set(seen[:3]) == set(users[4:])

    @async_case
    async def test_due_rows_that_vanish_do_not_stop_the_walk(self, store: AsyncStore) -> None:
        """The key of a row that has been deleted meanwhile still tells where to go on."""
        users = [self.user_id(f"user-{number}") for number in range(3)]
        for number, user in enumerate(users):
            await store.put(some_token(user, pair_saved_at=later(-10 + number)))
        page = await store.list_due(saved_before=NOW, limit=1)
        assert [row.user_id for row in page] == users[:1]
        await store.delete(users[0])
        rest = await store.list_due(saved_before=NOW, after=(page[0].pair_saved_at, users[0]))
        assert [row.user_id for row in rest] == users[1:]

    @async_case
    async def test_a_login_is_found_by_account_and_user(self, store: AsyncStore) -> None:
        """Users are found by the amoCRM login that they share, and only by the whole of it."""
        for name, account, login in (("a", "1", "2"), ("b", "1", "2"), ("c", "1", "3"), ("d", "2", "2")):
            pair = some_pair(account_id=account, amocrm_user_id=login)
            await store.put(some_token(self.user_id(name), pair=pair))
        found = await store.find_login(account_id="1", amocrm_user_id="2")
        assert sorted(found) == sorted(self.user_id(name) for name in "ab")
        assert await store.find_login(account_id="3", amocrm_user_id="2") == []
