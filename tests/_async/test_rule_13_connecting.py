"""Rule 13 and the order of checks: a code is exchanged once, for the user whose state came with it."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, errors, events
from amocrm_userauth.testing import FakeAmoCRM
from tests._async.kit import (
    AsyncApartStore,
    AsyncFailingStore,
    assert_in_step,
    connect,
    serving,
    stored,
)
from tests.pairs import async_launch, async_together


async def prepared(auth, fake, user_id="42", user="anna"):
    """Return the call that connects this user."""
    request = await auth.begin(user_id)
    code = fake.authorize(user=user, state=request.state)
    return partial(auth.connect, user_id, code=code, state=request.state, referer=fake.host(user))


async def test_twenty_equal_posts_make_one_exchange(fake_amocrm):
    """All succeed, in one process and across processes, and amoCRM sees the code once."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    async with serving(fake, store) as one, serving(fake, AsyncApartStore(store), kind=AsyncUserAuth) as two:
        call = await prepared(one, fake)
        calls = [call] * 10 + [partial(two.connect, *call.args, **call.keywords)] * 10
        outcomes = await async_together(calls)
        assert all(getattr(outcome, "connected", False) for outcome in outcomes), outcomes
        assert fake.token_calls() == 1
        await assert_in_step(one, fake)


async def test_twenty_codes_for_one_state_make_one_exchange(fake_amocrm):
    """One code wins; the others are refused as invalid_state and stay unspent."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        request = await auth.begin("42")
        codes = [fake.authorize(user="anna", state=request.state) for _ in range(20)]
        host = fake.host("anna")
        calls = [partial(auth.connect, "42", code=code, state=request.state, referer=host) for code in codes]
        outcomes = await async_together(calls)
        refused = [outcome for outcome in outcomes if isinstance(outcome, errors.InvalidState)]
        assert len(refused) == 19
        assert {error.reason for error in refused} == {"other_code"}
        assert fake.token_calls() == 1


@pytest.mark.parametrize(
    "failure",
    [{"status": 503}, {"status": 429, "retry_after": 9}, {"status": 403}, {"kind": "silence"}],
)
async def test_a_transient_failure_leaves_the_code_to_be_posted_again(fake_amocrm, failure):
    """The same code and state succeed later; another code for the state does not."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        call = await prepared(auth, fake)
        fake.fail_next("anna", **failure)
        with pytest.raises(errors.AmoCRMUnavailable):
            await call()
        with pytest.raises(errors.InvalidState) as caught:
            await auth.connect("42", **(call.keywords | {"code": fake.authorize(user="anna")}))
        assert caught.value.reason == "other_code"
        assert (await call()).connected


async def test_a_lost_answer_ends_in_a_definite_one(fake_amocrm):
    """A code whose answer was lost is spent: posting it again says that the user must start anew."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        call = await prepared(auth, fake)
        fake.drop_answer_next("anna")
        with pytest.raises(errors.AmoCRMUnavailable):
            await call()
        for _ in range(2):
            with pytest.raises(errors.InvalidCode):
                await call()
        assert fake.token_calls() == 2
        assert (await connect(auth, fake)).connected


async def test_a_repeated_post_after_success_is_answered_at_once(fake_amocrm):
    """The row came from this code: 200 without amoCRM, also after refreshes."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        call = await prepared(auth, fake)
        await call()
        await auth.refresh("42")
        calls = fake.token_calls()
        assert (await call()).connected
        assert fake.token_calls() == calls


async def test_a_state_is_used_up_by_its_connection(fake_amocrm):
    """After a disconnect, a reconnect or a refusal of the grant, the old code and state connect nobody."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        call = await prepared(auth, fake)
        await call()
        await auth.disconnect("42")
        with pytest.raises(errors.InvalidState) as caught:
            await call()
        assert caught.value.reason == "used"
        await connect(auth, fake)
        with pytest.raises(errors.InvalidState):
            await call()
        again = await prepared(auth, fake)
        await again()
        fake.revoke("anna")
        with pytest.raises(errors.GrantRevoked):
            await auth.refresh("42")
        with pytest.raises(errors.InvalidState):
            await again()


async def test_a_used_state_is_remembered_for_longer_than_it_is_good(fake_amocrm):
    """A host whose clock is ahead has swept it away already, and one whose clock is behind would take it again."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    async with (
        serving(fake, store) as ahead,
        serving(fake, AsyncApartStore(store), clock=lambda: fake.now() - timedelta(seconds=30)) as behind,
    ):
        call = await prepared(behind, fake)
        await call()
        fake.advance(1190)
        await connect(ahead, fake, "43", "boris")
        other = fake.authorize(user="anna", state=call.keywords["state"])
        with pytest.raises(errors.InvalidState) as caught:
            await call(code=other)
        assert caught.value.reason == "other_code"


async def test_the_state_is_checked_before_anything_else(fake_amocrm):
    """Missing, foreign, tampered and expired states are refused, and nothing is sent or stored."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        call = await prepared(auth, fake)
        state = call.keywords["state"]
        strangers = (await auth.begin("7")).state
        for bad, reason in [
            (None, "missing"),
            ("", "missing"),
            ("garbage", "malformed"),
            (42, "malformed"),
            (state[:-2] + ("aa" if state[-2:] != "aa" else "bb"), "signature"),
            (strangers, "other_user"),
        ]:
            with pytest.raises(errors.InvalidState) as caught:
                await auth.connect("42", **(call.keywords | {"state": bad, "referer": "evil.example"}))
            assert caught.value.reason == reason
        fake.advance(1201)
        with pytest.raises(errors.InvalidState) as caught:
            await call()
        assert caught.value.reason == "expired"
        assert fake.token_calls() == 0
        assert await auth.store.get("42") is None


@pytest.mark.parametrize("code", ["", "x" * 4097, "with\nnewline", "кириллица", None, 5])
async def test_a_code_that_cannot_be_one_is_refused(fake_amocrm, code):
    """It is invalid_code, and nothing is sent."""
    async with serving(fake_amocrm) as auth:
        request = await auth.begin("42")
        with pytest.raises(errors.InvalidCode):
            await auth.connect("42", code=code, state=request.state, referer="example.amocrm.ru")
        assert fake_amocrm.token_calls() == 0


@pytest.mark.parametrize(
    "referer", ["evil.example", "amocrm.ru", "example.amocrm.ru:8080", "http://example.amocrm.ru", 5]
)
async def test_the_code_goes_to_amocrms_hosts_only(fake_amocrm, referer):
    """Any other referer is untrusted_host; the state is not used up by it."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        call = await prepared(auth, fake)
        with pytest.raises(errors.UntrustedHost) as caught:
            await auth.connect("42", **(call.keywords | {"referer": referer}))
        assert caught.value.user_id == "42"
        assert (await call()).connected


async def test_the_referer_may_be_left_out_with_a_configured_account(fake_amocrm):
    """account_domain stands in for it; without one that is said."""
    fake = fake_amocrm
    async with serving(fake, integration={"account_domain": fake.host("anna")}) as auth:
        call = await prepared(auth, fake)
        assert (await auth.connect("42", **(call.keywords | {"referer": None}))).connected
    async with serving(fake) as auth:
        call = await prepared(auth, fake)
        with pytest.raises(errors.UntrustedHost, match="account_domain"):
            await auth.connect("42", **(call.keywords | {"referer": ""}))


async def test_a_dead_code_is_invalid(fake_amocrm):
    """Expired, spent and made-up codes say so, also when posted again."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        request = await auth.begin("42")
        call = partial(auth.connect, "42", code="def50200example", state=request.state, referer=fake.host("anna"))
        for _ in range(2):
            with pytest.raises(errors.InvalidCode):
                await call()
        assert fake.token_calls() == 1


async def test_a_wrong_account_host_is_invalid(fake_amocrm):
    """A code that the named account does not know is invalid_code."""
    fake = fake_amocrm
    fake.authorize(user="boris", account="other")
    async with serving(fake) as auth:
        call = await prepared(auth, fake)
        with pytest.raises(errors.InvalidCode):
            await auth.connect("42", **(call.keywords | {"referer": fake.host("boris")}))


async def test_a_wrong_secret_is_a_configuration_error_and_spends_no_code(fake_amocrm):
    """Once the secret is right the same post succeeds."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    keys = {"state_keys": ["an-example-key-for-states"]}
    wrong = {"client_secret": "wrong-example-secret"}
    async with serving(fake, store, **keys) as good, serving(fake, store, integration=wrong, **keys) as bad:
        call = await prepared(good, fake)
        with pytest.raises(errors.ConfigurationError, match="client_secret"):
            await bad.connect(*call.args, **call.keywords)
        assert (await call()).connected


async def test_an_answer_that_is_not_understood_is_a_protocol_error(fake_amocrm):
    """It is told, and the code may be posted again."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        call = await prepared(auth, fake)
        fake.fail_next("anna", status=400, body="{}")
        fake.fail_next("anna", status=400, body='{"hint":"?"}')
        for error in (errors.AmoCRMUnavailable, errors.ProtocolError):
            with pytest.raises(error):
                await call()
        assert (await call()).connected


@pytest.mark.parametrize("claims", [("account_id",), ("sub",), ("account_id", "sub", "api_domain", "scopes")])
async def test_missing_claims_are_looked_up(claims):
    """Account and user come from the account look-up where the token does not say."""
    with FakeAmoCRM(without_claims=claims) as fake:
        async with serving(fake) as auth:
            status = await connect(auth, fake)
            assert status.account_id == "31920194"
            assert status.amocrm_user_id == str(fake.user_id("anna"))


async def test_a_failed_look_up_does_not_lose_the_pair():
    """The pair is stored although nobody said whose account it is."""
    with FakeAmoCRM(without_claims=("account_id",)) as fake:
        async with serving(fake) as auth:
            fake.fail_next("anna", status=500, on="api")
            status = await connect(auth, fake)
            assert (status.connected, status.account_id) == (True, "")
            await assert_in_step(auth, fake)


async def test_only_this_account_refuses_every_other(fake_amocrm):
    """Another account is wrong_account, and nothing is stored; the right one connects."""
    fake = fake_amocrm
    options = {"only_this_account": True, "account_id": "31920194"}
    async with serving(fake, integration=options) as auth:
        request = await auth.begin("42")
        code = fake.authorize(user="boris", account="other", state=request.state)
        call = partial(auth.connect, "42", code=code, state=request.state, referer=fake.host("boris"))
        for _ in range(2):
            with pytest.raises(errors.WrongAccount):
                await call()
        assert await auth.store.get("42") is None
        assert (await connect(auth, fake)).connected


async def test_only_this_account_stores_nothing_that_it_could_not_check(fake_amocrm):
    """If amoCRM does not say which account it is, the pair is not stored."""
    fake = fake_amocrm
    options = {"only_this_account": True, "account_id": "31920194"}
    async with serving(fake, integration=options) as auth:
        fake.fail_next("anna", status=500, on="api")
        with pytest.raises(errors.InvalidCode, match="did not say whose"):
            await connect(auth, fake)
        assert await auth.store.get("42") is None


async def test_one_user_per_login_refuses_the_second(fake_amocrm):
    """A login that another user has connected is refused; the same user may reconnect, and others connect theirs."""
    fake = fake_amocrm
    async with serving(fake, integration={"one_user_per_login": True}) as auth:
        await connect(auth, fake, "42", "anna")
        with pytest.raises(errors.AlreadyConnectedByAnother):
            await connect(auth, fake, "7", "anna")
        assert await auth.store.get("7") is None
        assert (await connect(auth, fake, "42", "anna")).connected
        assert (await connect(auth, fake, "7", "boris")).connected


async def test_one_user_per_login_holds_for_two_at_the_same_moment(fake_amocrm):
    """Two users who connect one login at once never both keep it."""
    fake = fake_amocrm

    class Late(AsyncMemoryTokenStore):
        """Shows nobody at the first look."""

        looks = 0

        async def find_login(self, **more):
            self.looks += 1
            return [] if self.looks == 2 else await super().find_login(**more)

    async with serving(fake, Late(), integration={"one_user_per_login": True}) as auth:
        await connect(auth, fake, "42", "anna")
        auth.store.looks = 1
        with pytest.raises(errors.AlreadyConnectedByAnother):
            await connect(auth, fake, "7", "anna")
        assert await auth.store.get("7") is None
        assert await auth.store.get("42") is not None


async def test_two_users_on_one_login_are_visible(fake_amocrm):
    """Without the rule both are connected, and the status shows the same amoCRM user."""
    async with serving(fake_amocrm) as auth:
        first = await connect(auth, fake_amocrm, "42", "anna")
        second = await connect(auth, fake_amocrm, "7", "anna")
        assert first.amocrm_user_id == second.amocrm_user_id != ""


async def test_several_tabs_at_once_work(fake_amocrm):
    """Several states of one user are good at the same time; the last connection wins."""
    fake, told = fake_amocrm, []
    async with serving(fake, events=told) as auth:
        calls = [await prepared(auth, fake) for _ in range(3)]
        for call in calls:
            assert (await call()).connected
        assert told == [events.Connected("42", "31920194", fake.host("anna"))] * 3
        await assert_in_step(auth, fake)


async def test_a_claim_of_a_dead_process_runs_out(fake_amocrm):
    """A post whose process died is waited for, then told to come back; after the lease the same post succeeds."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    async with serving(fake, store) as auth:
        call = await prepared(auth, fake)
        hold = fake.hold_next("anna")
        stuck = await async_launch(call)
        await hold.async_wait_arrived()
        async with serving(fake, AsyncApartStore(store)) as other:
            again = partial(other.connect, *call.args, **call.keywords)
            with pytest.raises(errors.RefreshInProgress):
                await again()
            fake.advance(91)
            assert (await again()).connected
        hold.release()
        await stuck.outcome()
        assert (await auth.status("42")).connected


async def test_a_store_that_fails_at_the_claim_spends_no_code(fake_amocrm):
    """Without a claim nothing is sent."""
    fake = fake_amocrm

    class Unclaiming(AsyncFailingStore):
        """Claims nothing once."""

        async def claim(self, **more):
            self._step("claim")
            return await super().claim(**more)

    store = Unclaiming()
    async with serving(fake, store) as auth:
        call = await prepared(auth, fake)
        store.failing["claim"] = 1
        with pytest.raises(errors.StoreUnavailable):
            await call()
        assert fake.token_calls() == 0
        store.failing["finish"] = 1
        assert (await call()).connected


async def test_a_slow_claim_sends_nothing(fake_amocrm):
    """The holder's clock starts before the claim: without time left nothing is sent."""
    fake = fake_amocrm

    class Slow(AsyncMemoryTokenStore):
        """Takes longer than the exchange budget."""

        time = None

        async def claim(self, **more):
            record = await super().claim(**more)
            if self.time is not None:
                self.time.skipped += 25
            return record

    store = Slow()
    async with serving(fake, store) as auth:
        call = await prepared(auth, fake)
        store.time = auth._time
        with pytest.raises(errors.AmoCRMUnavailable, match="before anything was sent"):
            await call()
        assert fake.token_calls() == 0
        store.time = None
        assert (await call()).connected


async def callback(auth, fake, user_id="42", user="anna", **more):
    """Let amoCRM's redirect reach the bridge; return its result and the parameters."""
    request = await auth.begin(user_id)
    params = {
        "code": fake.authorize(user=user, state=request.state),
        "state": request.state,
        "referer": fake.host(user),
        "client_id": auth.integration.client_id,
    } | more
    return await auth.accept_callback(params.items()), params


async def test_a_bare_code_is_accepted_with_the_bridges_record(fake_amocrm):
    """The bridge has seen whose code it is: the user it came for needs no state."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        seen, params = await callback(auth, fake)
        assert (seen.code, seen.state, seen.referer) == (params["code"], params["state"], params["referer"])
        bare = partial(auth.connect, code=seen.code, referer=seen.referer)
        with pytest.raises(errors.InvalidState) as caught:
            await bare("7")
        assert caught.value.reason == "other_user"
        assert (await bare("42")).connected
        assert (await bare("42")).connected
        assert fake.token_calls() == 1


async def test_the_bridges_record_is_good_for_as_long_as_its_state(fake_amocrm):
    """It is kept a minute longer, but proves nothing then."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        seen, _ = await callback(auth, fake)
        fake.advance(1230)
        with pytest.raises(errors.InvalidState) as caught:
            await auth.connect("42", code=seen.code, referer=seen.referer)
        assert caught.value.reason == "missing"


async def test_a_code_recorded_for_another_user_is_refused_whatever_the_state(fake_amocrm):
    """A good state of one's own does not open somebody else's code."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        seen, _ = await callback(auth, fake)
        own = await auth.begin("7")
        with pytest.raises(errors.InvalidState) as caught:
            await auth.connect("7", code=seen.code, state=own.state, referer=seen.referer)
        assert caught.value.reason == "other_user"
        assert fake.token_calls() == 0


async def test_a_bare_code_without_a_record_is_refused_unless_configured(fake_amocrm, caplog):
    """state_policy="optional" accepts it, once, with a warning in the log."""
    fake = fake_amocrm
    code = fake.authorize(user="anna")
    async with serving(fake) as auth:
        with pytest.raises(errors.InvalidState) as caught:
            await auth.connect("42", code=code, referer=fake.host("anna"))
        assert caught.value.reason == "missing"
    async with serving(fake, state_policy="optional") as auth:
        calls = [partial(auth.connect, "42", code=code, referer=fake.host("anna"))] * 5
        assert all(outcome.connected for outcome in await async_together(calls))
        assert fake.token_calls() == 1
        with pytest.raises(errors.InvalidState):
            await auth.connect("7", code=code, referer=fake.host("anna"))
    assert "without a state" in caplog.text


async def test_the_bridge_accepts_a_reload_but_no_other_code(fake_amocrm):
    """The same answer twice is fine; another code for the state is not."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        _, params = await callback(auth, fake)
        assert (await auth.accept_callback(params.items())).code == params["code"]
        with pytest.raises(errors.InvalidState) as caught:
            await auth.accept_callback((params | {"code": "def50200example"}).items())
        assert caught.value.reason == "other_code"


async def test_the_bridge_refuses_what_is_not_an_answer_of_amocrm(fake_amocrm):
    """Missing or foreign states, repeats, widgets, other clients, foreign hosts and missing codes are refused."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        state = (await auth.begin("42")).state
        host, code = fake.host("anna"), "def50200example"
        cases = [
            ([], "missing"),
            ([("code", code), ("state", "garbage")], "malformed"),
            ([("code", code), ("state", state), ("state", state)], "repeated"),
            ([("code", code), ("from_widget", "1"), ("referer", host)], "from_widget"),
            ([("code", code), ("state", state), ("client_id", "another")], "client"),
            ([("state", state), ("referer", host)], "malformed"),
            ([("code", "a\nb"), ("state", state), ("referer", host)], "malformed"),
        ]
        for params, reason in cases:
            with pytest.raises(errors.InvalidState) as caught:
                await auth.accept_callback(params)
            assert caught.value.reason == reason
        for params in (
            [("code", code), ("state", state), ("referer", "evil.example")],
            [("code", code), ("state", state)],
        ):
            with pytest.raises(errors.UntrustedHost):
                await auth.accept_callback(params)
    async with serving(fake, auth.store, integration={"account_domain": host}) as own:
        assert (await own.accept_callback([("code", code), ("state", state)])).referer == ""


async def test_a_refusal_of_the_user_passes_the_bridge_as_such(fake_amocrm):
    """With a good state the refusal is handed on, and nothing is recorded."""
    async with serving(fake_amocrm) as auth:
        state = (await auth.begin("42")).state
        seen = await auth.accept_callback([("error", "access_denied<script>"), ("state", state)])
        assert (seen.error, seen.code) == ("access_denied", "")
        with pytest.raises(errors.InvalidState):
            await auth.accept_callback([("error", "access_denied")])


async def test_a_key_can_be_rotated(fake_amocrm):
    """A state signed with the old key is good while that key is still listed."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    old, new = "an-old-example-key", "a-new-example-key-"
    async with serving(fake, store, state_keys=[old]) as before, serving(fake, store, state_keys=[new, old]) as after:
        seen, _ = await callback(before, fake)
        assert (await after.connect("42", code=seen.code, referer=seen.referer)).connected
        call = await prepared(before, fake)
        assert (await after.connect(*call.args, **call.keywords)).connected
    async with serving(fake, store, state_keys=[new]) as later:
        with pytest.raises(errors.InvalidState) as caught:
            await later.connect(*call.args, **call.keywords)
        assert caught.value.reason == "signature"


async def test_a_second_reader_of_the_row_sees_the_connection(fake_amocrm):
    """What connect returned is what is stored."""
    async with serving(fake_amocrm) as auth:
        status = await connect(auth, fake_amocrm)
        row = await stored(auth)
        assert (row.pair.domain, row.pair.account_id) == (status.domain, status.account_id)
        assert (row.client_id, len(row.code_hash)) == (auth.integration.client_id, 64)


async def test_an_account_without_a_user_is_not_checked_and_not_stored(fake_amocrm):
    """Where logins must differ, an answer that names no user is as good as none."""
    fake = fake_amocrm
    async with serving(fake, integration={"one_user_per_login": True}) as auth:
        fake.fail_next("anna", status=200, body='{"id": 31920194}', on="api")
        with pytest.raises(errors.InvalidCode, match="did not say whose"):
            await connect(auth, fake)
        assert await auth.store.get("42") is None


async def test_a_nonce_that_another_user_holds_is_refused(fake_amocrm):
    """Whatever the store says of the nonce, a record of another user is never this one's."""
    fake = fake_amocrm

    class Confused(AsyncMemoryTokenStore):
        """Says that the nonce is somebody else's."""

        async def claim(self, **more):
            return replace(await super().claim(**more), user_hash="another's", claimant="another")

    async with serving(fake, Confused()) as auth:
        with pytest.raises(errors.InvalidState) as caught:
            await connect(auth, fake)
        assert caught.value.reason == "other_user"
        assert fake.token_calls() == 0


async def test_a_post_that_finds_the_exchange_just_finished_is_answered(fake_amocrm):
    """Another process finished between the look at the row and the claim: the post is a success all the same."""
    fake = fake_amocrm

    class Late(AsyncMemoryTokenStore):
        """Shows the row only after the claim was tried."""

        blind = 0

        async def get(self, user_id, *, with_tokens=True):
            if self.blind:
                self.blind -= 1
                return None
            return await super().get(user_id, with_tokens=with_tokens)

    async with serving(fake, Late()) as auth:
        call = await prepared(auth, fake)
        await call()
        auth.store.blind = 1
        assert (await call()).connected
        assert fake.token_calls() == 1


async def test_one_user_per_login_is_checked_again_by_a_repeated_post(fake_amocrm):
    """A store that failed after the pair was stored does not leave two users on one login."""
    fake = fake_amocrm

    class Late(AsyncMemoryTokenStore):
        """Shows nobody at the first look, and fails at the second."""

        looks = 9

        async def find_login(self, **more):
            self.looks += 1
            if self.looks == 2:
                raise OSError("example: the database said no")
            return [] if self.looks == 1 else await super().find_login(**more)

    async with serving(fake, Late(), integration={"one_user_per_login": True}) as auth:
        await connect(auth, fake, "42", "anna")
        call = await prepared(auth, fake, "7", "anna")
        auth.store.looks = 0
        with pytest.raises(errors.StoreUnavailable):
            await call()
        with pytest.raises(errors.AlreadyConnectedByAnother):
            await call()
        assert await auth.store.get("7") is None
        assert await auth.store.get("42") is not None
