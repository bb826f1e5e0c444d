"""What belongs to the other world, or is no client or store at all, is refused when the service is made."""

import httpx
import pytest

import amocrm_userauth
from amocrm_userauth import AsyncMemoryTokenStore, AsyncOAuthClient, AsyncUserAuth, errors
from tests.pairs import async_strangers


async def test_a_client_of_the_other_world_is_refused(fake_amocrm):
    """It would fail at every call, which would look like an unreachable amoCRM."""
    for stranger in (*async_strangers(httpx), object()):
        with pytest.raises(errors.ConfigurationError, match="http must be"):
            AsyncUserAuth(fake_amocrm.integration(), AsyncMemoryTokenStore(), http=stranger)
        with pytest.raises(errors.ConfigurationError, match="http must be"):
            AsyncOAuthClient(fake_amocrm.integration(), http=stranger)


async def test_a_store_of_the_other_world_is_refused(fake_amocrm):
    """So is something that is no store."""
    for stranger in (*async_strangers(amocrm_userauth), object()):
        with pytest.raises(errors.ConfigurationError, match="store must be"):
            AsyncUserAuth(fake_amocrm.integration(), stranger)
