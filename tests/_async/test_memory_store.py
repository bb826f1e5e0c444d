"""What the in-memory store does beyond the suite."""

from datetime import UTC, datetime, timedelta

import pytest

from amocrm_userauth._async.memory import AsyncMemoryTokenStore

NOW = datetime(2025, 3, 9, 12, tzinfo=UTC)
STATE = {"code_hash": "c", "user_hash": "u"}


async def full_of_live_states() -> AsyncMemoryTokenStore:
    """Return a store whose oldest records are alive, and a later one has expired: the sweep does not reach it."""
    store = AsyncMemoryTokenStore()
    for number in range(20):
        expiry = NOW if number == 19 else NOW + timedelta(days=1)
        await store.remember_code(nonce_hash=f"n-{number}", **STATE, expires_at=expiry, now=NOW - timedelta(1))
    return store


async def test_an_expired_record_gives_way_to_a_claim() -> None:
    """A nonce whose record has expired is as good as new, swept or not."""
    store = await full_of_live_states()
    later = NOW + timedelta(days=1)
    claim = {"code_hash": "other", "user_hash": "v", "claimant": "x", "until": later, "expires_at": later, "now": NOW}
    record = await store.claim(nonce_hash="n-19", **claim)
    assert (record.code_hash, record.claimant) == ("other", "x")


async def test_an_expired_record_gives_way_to_a_new_code() -> None:
    """The same holds for the bridge."""
    store = await full_of_live_states()
    expiry = NOW + timedelta(days=1)
    assert await store.remember_code(nonce_hash="n-19", code_hash="d", user_hash="v", expires_at=expiry, now=NOW)
    assert [record.user_hash for record in await store.find_code("d", now=NOW)] == ["v"]


async def test_claims_sweep_expired_records() -> None:
    """The memory that old states take is given back, a few at a time."""
    store = AsyncMemoryTokenStore()
    for number in range(20):
        await store.remember_code(nonce_hash=f"n-{number}", **STATE, expires_at=NOW, now=NOW - timedelta(1))
    for number in range(3):
        until = NOW + timedelta(1)
        await store.claim(nonce_hash=f"m-{number}", **STATE, claimant="x", until=until, expires_at=until, now=NOW)
    assert sorted(store._states) == ["m-0", "m-1", "m-2"]


async def test_each_store_is_a_scope_of_its_own() -> None:
    """Two stores share nothing."""
    one, other = AsyncMemoryTokenStore(), AsyncMemoryTokenStore()
    assert one.shared_scope() == one.shared_scope()
    assert one.shared_scope() != other.shared_scope()


async def test_nobody_is_not_a_user() -> None:
    """An id that names nobody is refused by every method that takes one."""
    store = AsyncMemoryTokenStore()
    for step in (store.get, store.delete, store.check_user):
        with pytest.raises(ValueError, match="user id"):
            await step("")
