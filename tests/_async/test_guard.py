"""A store of any make behind the guard: nothing of a driver's exception leaks out."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from amocrm_userauth import AsyncMemoryTokenStore, TokenPair, UserToken
from amocrm_userauth._async.guard import AsyncGuard
from amocrm_userauth._core.model import Failure
from amocrm_userauth.errors import ConfigurationError, StoreUnavailable

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TOKEN = UserToken(
    user_id="42",
    pair=TokenPair(access_token="example-a", refresh_token="example-r", expires_at=NOW, domain="example.amocrm.ru"),
    revision="r1",
    pair_saved_at=NOW,
)
CODE = {"nonce_hash": "n", "code_hash": "c", "user_hash": "u", "expires_at": NOW}
CALLS = {
    "get": lambda store: store.get("42", with_tokens=False),
    "put": lambda store: store.put(TOKEN),
    "delete": lambda store: store.delete("42", revision="r1"),
    "take_lease": lambda store: store.take_lease("42", revision="r1", holder="h", until=NOW, now=NOW, rejected=True),
    "commit": lambda store: store.commit(TOKEN, over="r0", keep_previous=True),
    "note_failure": lambda store: store.note_failure("42", revision="r1", holder="h", failure=Failure()),
    "list_due": lambda store: store.list_due(saved_before=NOW, after=(NOW, "41"), limit=7),
    "find_login": lambda store: store.find_login(account_id="1", amocrm_user_id="2"),
    "check_user": lambda store: store.check_user("42"),
    "remember_code": lambda store: store.remember_code(**CODE, now=NOW),
    "find_code": lambda store: store.find_code("c", now=NOW),
    "claim": lambda store: store.claim(**CODE, claimant="a", until=NOW, now=NOW),
    "finish": lambda store: store.finish(nonce_hash="n", claimant="a", outcome="connected"),
}
OF_A_USER = {"get", "put", "delete", "take_lease", "commit", "note_failure", "check_user"}


class AsyncEcho:
    """A store that keeps how it was called and answers, or raises, the same thing to everything."""

    def __init__(self, answer=None, error=None):
        self.answer = answer
        self.error = error
        self.calls = []

    def __getattr__(self, name):
        async def call(*args, **more):
            self.calls.append((name, args, more))
            if self.error is not None:
                raise self.error
            return self.answer

        return call


@pytest.mark.parametrize("name", CALLS)
async def test_every_call_is_passed_on_as_it_is(name):
    """With all its arguments, and its answer comes back."""
    through, directly = AsyncEcho(TOKEN), AsyncEcho(TOKEN)
    got = await CALLS[name](AsyncGuard(through))
    await CALLS[name](directly)
    assert through.calls == directly.calls
    assert through.calls[0][0] == name
    assert got is (None if name in {"put", "check_user"} else TOKEN)


@pytest.mark.parametrize("name", CALLS)
async def test_a_drivers_error_becomes_ours(name):
    """Its kind is named; its text may hold what was stored, so neither it nor the error itself is kept."""
    store = AsyncGuard(AsyncEcho(error=OSError("example-secret in a statement")))
    with pytest.raises(StoreUnavailable, match="OSError") as caught:
        await CALLS[name](store)
    assert caught.value.user_id == ("42" if name in OF_A_USER else "")
    assert "example-secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", CALLS)
async def test_an_error_of_ours_stays_as_it_is(name):
    """It learns whose call it was, if it did not know."""
    error = ConfigurationError("the key is unknown")
    with pytest.raises(ConfigurationError) as caught:
        await CALLS[name](AsyncGuard(AsyncEcho(error=error)))
    assert caught.value is error
    assert error.user_id == ("42" if name in OF_A_USER else "")


async def test_an_error_that_knows_its_user_keeps_it():
    """The store may know better."""
    with pytest.raises(ConfigurationError) as caught:
        await AsyncGuard(AsyncEcho(error=ConfigurationError(user_id="7"))).get("42")
    assert caught.value.user_id == "7"


@pytest.mark.parametrize("other", ["Bob", "bob ", "B\u00f6b"])
@pytest.mark.parametrize("name", ["get", "take_lease", "commit"])
async def test_a_row_of_another_user_is_never_handed_out(name, other):
    """A data base may compare ids by its own lights; the guard compares them as they are."""
    assert await CALLS[name](AsyncGuard(AsyncEcho(replace(TOKEN, user_id=other)))) is None
    assert await CALLS[name](AsyncGuard(AsyncEcho(TOKEN))) is TOKEN
    assert await CALLS[name](AsyncGuard(AsyncEcho(None))) is None


@pytest.mark.parametrize("user_id", [None, "", 17, "a\0b", "\ud800", "x" * 256])
async def test_what_cannot_name_a_user_does_not_reach_the_store(user_id):
    """The store's own spelling comes after our rules."""
    with pytest.raises(ValueError, match="user id"):
        AsyncGuard(AsyncMemoryTokenStore()).canonical_user_id(user_id)
    assert AsyncGuard(AsyncMemoryTokenStore()).canonical_user_id("42") == "42"


async def test_the_scope_is_the_stores():
    """Two guards around one store share what is under way."""
    store = AsyncMemoryTokenStore()
    assert AsyncGuard(store).shared_scope() == AsyncGuard(store).shared_scope() == store.shared_scope()
