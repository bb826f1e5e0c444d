"""Rule 10: an account that moved is found, with the same token under the same lease."""

from dataclasses import replace

import pytest

from amocrm_userauth import TokenPair, errors
from amocrm_userauth.testing import FakeAmoCRM
from tests._async.kit import DAY, assert_in_step, connect, refreshes, serving, stored


@pytest.mark.parametrize("status", [401, 404])
@pytest.mark.parametrize("without", [(), ("api_domain",)])
async def test_a_moved_account_is_refreshed_at_its_new_host(status, without):
    """The old host is unknown: the look-up names the new one, which is asked once and stored."""
    with FakeAmoCRM(unknown_host=status, without_claims=without) as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            # the older look-up goes by the access token, so it must still be good then
            fake.advance(DAY - 300)
            host = fake.rename_account("anna", "moved")
            await auth.refresh("42")
            assert (await auth.status("42")).domain == host
            assert await auth.hosts("42") == (host, (await stored(auth)).pair.api_domain)
            await assert_in_step(auth, fake)


async def test_a_moved_account_is_not_looked_for_when_the_token_is_refused(fake_amocrm):
    """A condemning hint is an answer of the right account."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.revoke("anna")
        with pytest.raises(errors.GrantRevoked):
            await auth.access_token("42")
        assert not [entry for entry in fake.requests if "subdomain" in entry.path]


async def test_an_account_that_is_nowhere_condemns_nobody(fake_amocrm):
    """A 404 and a look-up that names no other host: not understood, the user stays connected."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.fail_next("anna", status=404)
        with pytest.raises(errors.ProtocolError):
            await auth.access_token("42")
        assert refreshes(fake) == 1
        assert (await auth.status("42")).connected


async def test_invalid_account_leads_to_the_look_up(fake_amocrm):
    """amoCRM's "Invalid account" means another host as well."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        row = await stored(auth)
        await auth.store.put(replace(row, pair=moved(row.pair, "www.amocrm.ru")))
        fake.advance(DAY)
        fake.fail_next(None, status=400, body='{"hint":"Invalid account","status":400}')
        await auth.access_token("42")
        assert (await auth.status("42")).domain == fake.host("anna")


async def test_a_look_up_that_names_a_strangers_host_is_not_followed(fake_amocrm):
    """The secret goes to amoCRM's hosts only, whatever the look-up says."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.fail_next("anna", status=404)
        fake.fail_next("anna", status=200, body='{"domain":"evil.example"}', on="lookup")
        with pytest.raises(errors.ProtocolError):
            await auth.access_token("42")
        assert refreshes(fake) == 1


async def test_a_new_host_that_does_not_know_the_account_either_ends_it(fake_amocrm):
    """The token is repeated once, not for ever."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.rename_account("anna", "moved")
        fake.fail_next("anna", status=404, times=2)
        with pytest.raises(errors.ProtocolError):
            await auth.access_token("42")
        fake.clear_faults()
        fake.advance(120)
        await auth.access_token("42")


def moved(pair: TokenPair, domain: str) -> TokenPair:
    """Return the pair as if it had been stored with another host."""
    return TokenPair(
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        expires_at=pair.expires_at,
        account_id=pair.account_id,
        amocrm_user_id=pair.amocrm_user_id,
        domain=domain,
        api_domain=pair.api_domain,
        scopes=pair.scopes,
    )
