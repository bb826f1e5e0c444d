"""The part of the store suite on nonces and codes: each is accepted once."""

from dataclasses import replace
from functools import partial

from amocrm_userauth._core.model import StateRecord
from amocrm_userauth.testing._async.contract_base import NOW, AsyncStore, AsyncStoreSuite, later
from amocrm_userauth.testing._worlds import async_case, async_together

__all__ = ["AsyncStateContract"]

_CALLERS = 8
_ROUNDS = 2
_NONCE = "a" * 64
_CODE = "c" * 64
_OTHER_CODE = "C" * 64
_USER = "d" * 64
_OTHER_USER = "e" * 64
_EXPIRY = later(1200)


def _record(**changes: object) -> StateRecord:
    claimed = StateRecord(
        nonce_hash=_NONCE,
        code_hash=_CODE,
        user_hash=_USER,
        outcome="claimed",
        claimant="one",
        claim_until=later(60),
        expires_at=_EXPIRY,
    )
    return replace(claimed, **changes)  # type: ignore[arg-type]


class AsyncStateContract(AsyncStoreSuite):
    """What a store remembers of the answers that amoCRM sent."""

    async def _claim(self, store: AsyncStore, **changes: object) -> StateRecord:
        values: dict[str, object] = {
            "nonce_hash": _NONCE,
            "code_hash": _CODE,
            "user_hash": _USER,
            "claimant": "one",
            "until": later(60),
            "expires_at": _EXPIRY,
            "now": NOW,
        }
        return await store.claim(**(values | changes))  # type: ignore[arg-type]

    async def _remember(self, store: AsyncStore, **changes: object) -> bool:
        values: dict[str, object] = {
            "nonce_hash": _NONCE,
            "code_hash": _CODE,
            "user_hash": _USER,
            "expires_at": _EXPIRY,
            "now": NOW,
        }
        return await store.remember_code(**(values | changes))  # type: ignore[arg-type]

    @async_case
    async def test_a_new_nonce_is_claimed(self, store: AsyncStore) -> None:
        """The record that comes back is the claim."""
        assert await self._claim(store) == _record()
        assert await store.find_code(_CODE, now=NOW) == [_record()]

    @async_case
    async def test_a_claim_under_way_is_not_given_twice(self, store: AsyncStore) -> None:
        """The second caller sees whose claim it is."""
        await self._claim(store)
        assert await self._claim(store, claimant="two", until=later(99), now=later(59)) == _record()

    @async_case
    async def test_of_many_claimants_one_is_granted(self, store: AsyncStore) -> None:
        """However many callers post the same answer at once, one makes the exchange."""
        for number in range(_ROUNDS):
            claim = partial(self._claim, store, nonce_hash=f"nonce-{number}")
            records = await async_together([partial(claim, claimant=f"caller-{n}") for n in range(_CALLERS)])
            assert sum(record.claimant == f"caller-{n}" for n, record in enumerate(records)) == 1
            assert len({record.claimant for record in records}) == 1

    @async_case
    async def test_of_many_claimants_of_a_recorded_code_one_is_granted(self, store: AsyncStore) -> None:
        """The same holds where the bridge has recorded the code before."""
        for number in range(_ROUNDS):
            await self._remember(store, nonce_hash=f"nonce-{number}")
            claim = partial(self._claim, store, nonce_hash=f"nonce-{number}")
            records = await async_together([partial(claim, claimant=f"caller-{n}") for n in range(_CALLERS)])
            assert sum(record.claimant == f"caller-{n}" for n, record in enumerate(records)) == 1

    @async_case
    async def test_of_many_codes_with_one_nonce_one_is_granted(self, store: AsyncStore) -> None:
        """One state lets one code through, also if many come at once."""
        for number in range(_ROUNDS):
            claim = partial(self._claim, store, nonce_hash=f"nonce-{number}")
            calls = [partial(claim, code_hash=f"code-{n}", claimant=f"caller-{n}") for n in range(_CALLERS)]
            records = await async_together(calls)
            assert len({(record.code_hash, record.claimant) for record in records}) == 1

    @async_case
    async def test_nonces_do_not_disturb_each_other(self, store: AsyncStore) -> None:
        """Several tabs at once work; hashes compare exactly."""
        await self._claim(store)
        other = await self._claim(store, nonce_hash=_NONCE.upper(), claimant="two")
        assert other == _record(nonce_hash=_NONCE.upper(), claimant="two")

    @async_case
    async def test_another_code_is_refused(self, store: AsyncStore) -> None:
        """A used nonce accepts no other code, neither while its claim runs nor after, however it ended."""
        await self._claim(store)
        for outcome in ("claimed", "retry", "connected", "failed:invalid_code"):
            if outcome != "claimed":
                await self._claim(store, now=later(61), until=later(99))
                await store.finish(nonce_hash=_NONCE, claimant="one", outcome=outcome)
            record = await self._claim(store, code_hash=_OTHER_CODE, claimant="two", now=later(100))
            assert (record.code_hash, record.claimant == "two") == (_CODE, False)

    @async_case
    async def test_another_user_is_refused(self, store: AsyncStore) -> None:
        """A nonce that is one user's accepts nobody else, also with the same code."""
        await self._remember(store)
        record = await self._claim(store, user_hash=_OTHER_USER)
        assert (record.user_hash, record.outcome) == (_USER, "recorded")

    @async_case
    async def test_a_claim_that_ran_out_may_be_taken_again(self, store: AsyncStore) -> None:
        """Whoever died in the middle does not block the same code for ever."""
        await self._claim(store)
        record = await self._claim(store, claimant="two", until=later(120), now=later(60))
        assert record == _record(claimant="two", claim_until=later(120))

    @async_case
    async def test_a_claim_to_be_retried_may_be_taken_again(self, store: AsyncStore) -> None:
        """``retry`` says that the code was not spent."""
        await self._claim(store)
        assert await store.finish(nonce_hash=_NONCE, claimant="one", outcome="retry") is True
        assert await self._claim(store, claimant="two", until=later(70)) == _record(
            claimant="two", claim_until=later(70)
        )

    @async_case
    async def test_a_final_outcome_stands(self, store: AsyncStore) -> None:
        """What is connected or has failed is not claimed again, however much later."""
        for number, outcome in enumerate(("connected", "failed:already_connected_by_another")):
            nonce = f"nonce-{number}"
            await self._claim(store, nonce_hash=nonce)
            assert await store.finish(nonce_hash=nonce, claimant="one", outcome=outcome) is True
            record = await self._claim(store, nonce_hash=nonce, claimant="two", now=later(900), until=later(960))
            assert (record.outcome, record.claimant == "two") == (outcome, False)

    @async_case
    async def test_only_the_claimant_finishes(self, store: AsyncStore) -> None:
        """Neither a stranger nor one whose claim was taken over writes the outcome."""
        await self._claim(store)
        assert await store.finish(nonce_hash=_NONCE, claimant="two", outcome="connected") is False
        await self._claim(store, claimant="two", now=later(60), until=later(120))
        assert await store.finish(nonce_hash=_NONCE, claimant="one", outcome="connected") is False
        assert await store.find_code(_CODE, now=later(61)) == [_record(claimant="two", claim_until=later(120))]

    @async_case
    async def test_a_claim_is_finished_once(self, store: AsyncStore) -> None:
        """The first outcome stands, and there is nothing to finish without a claim."""
        assert await store.finish(nonce_hash=_NONCE, claimant="one", outcome="connected") is False
        await self._claim(store)
        assert await store.finish(nonce_hash=_NONCE, claimant="one", outcome="connected") is True
        assert await store.finish(nonce_hash=_NONCE, claimant="one", outcome="retry") is False
        assert [record.outcome for record in await store.find_code(_CODE, now=NOW)] == ["connected"]

    @async_case
    async def test_a_code_is_remembered(self, store: AsyncStore) -> None:
        """The record says whose the code is; remembering it again changes nothing and is true again."""
        assert await self._remember(store) is True
        assert await self._remember(store, expires_at=later(9999)) is True
        recorded = _record(outcome="recorded", claimant="", claim_until=None)
        assert await store.find_code(_CODE, now=NOW) == [recorded]

    @async_case
    async def test_the_first_code_of_a_nonce_stands(self, store: AsyncStore) -> None:
        """A second code, or a second user, for the same nonce is not recorded."""
        await self._remember(store)
        assert await self._remember(store, code_hash=_OTHER_CODE) is False
        assert await self._remember(store, user_hash=_OTHER_USER) is False
        assert await store.find_code(_OTHER_CODE, now=NOW) == []
        assert [record.user_hash for record in await store.find_code(_CODE, now=NOW)] == [_USER]

    @async_case
    async def test_of_many_codes_for_one_nonce_one_is_remembered(self, store: AsyncStore) -> None:
        """The same holds if they come at once."""
        for number in range(_ROUNDS):
            remember = partial(self._remember, store, nonce_hash=f"nonce-{number}")
            answers = await async_together([partial(remember, code_hash=f"code-{n}") for n in range(_CALLERS)])
            assert answers.count(True) == 1

    @async_case
    async def test_remembering_leaves_a_claim_alone(self, store: AsyncStore) -> None:
        """The bridge may come after the app: its record is the claim that is there."""
        await self._claim(store)
        assert await self._remember(store) is True
        assert await store.find_code(_CODE, now=NOW) == [_record()]

    @async_case
    async def test_a_remembered_code_may_be_claimed(self, store: AsyncStore) -> None:
        """The app's claim follows the bridge's record, for the same code and user."""
        await self._remember(store)
        assert await self._claim(store) == _record()

    @async_case
    async def test_every_record_of_a_code_is_found(self, store: AsyncStore) -> None:
        """A code that came with two nonces has two records: whose it is, is then for the caller to say."""
        await self._remember(store, nonce_hash="nonce-1")
        await self._remember(store, nonce_hash="nonce-2", user_hash=_OTHER_USER)
        found = await store.find_code(_CODE, now=NOW)
        assert {(record.nonce_hash, record.user_hash) for record in found} == {
            ("nonce-1", _USER),
            ("nonce-2", _OTHER_USER),
        }

    @async_case
    async def test_an_expired_record_is_not_found(self, store: AsyncStore) -> None:
        """After its time a code is unknown."""
        await self._remember(store)
        assert len(await store.find_code(_CODE, now=later(1199))) == 1
        assert await store.find_code(_CODE, now=later(1200)) == []

    @async_case
    async def test_tidying_up_spares_what_is_in_use(self, store: AsyncStore) -> None:
        """Claims delete expired records, and none that has not expired."""
        for number in range(30):
            await self._remember(store, nonce_hash=f"old-{number}", expires_at=later(5))
        await self._remember(store, nonce_hash="fresh", code_hash=_OTHER_CODE)
        for number in range(5):
            await self._claim(store, nonce_hash=f"new-{number}", now=later(10), until=later(70))
        assert len(await store.find_code(_OTHER_CODE, now=later(10))) == 1
        assert len(await store.find_code(_CODE, now=later(10))) == 5  # noqa: PLR2004 - the claims above
