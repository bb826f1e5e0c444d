"""What the fake's API, look-ups and limits answer."""

import pytest

from tests.fake.kit import HOST, Caller, caller

DENIED = {
    "title": "Unauthorized",
    "type": "https://httpstatus.es/401",
    "status": 401,
    "detail": "Неверный логин или пароль",
}


@pytest.fixture
def amo():
    with caller(rate_limit=None) as made:
        yield made


def test_account_and_user_say_whose_token_it_is(amo: Caller):
    """Both methods name the user of the token."""
    token = amo.connect("boris")["access_token"]
    account = amo.account(token).json()
    assert account["id"] == amo.fake.account_id("boris")
    assert (account["subdomain"], account["country"]) == ("example", "RU")
    assert account["current_user_id"] == amo.fake.user_id("boris")
    assert account["_links"]["self"]["href"] == "https://example.amocrm.ru/api/v4/account"
    user = amo.get("/v3/user", token).json()
    assert (user["id"], user["name"]) == (amo.fake.user_id("boris"), "boris")


def test_a_user_exists_before_they_connect(amo: Caller):
    """So a test can ask for their number first."""
    number = amo.fake.user_id("zoe")
    assert amo.fake.host("zoe") == HOST
    assert amo.account(amo.connect("zoe")["access_token"]).json()["current_user_id"] == number


def test_the_shared_api_host_serves_every_account(amo: Caller):
    """The host of the claim api_domain takes the token as well."""
    assert amo.account(amo.connect()["access_token"], "api-b.amocrm.ru").status_code == 200


@pytest.mark.parametrize("verb", ["expire", "revoke", "disable", "deactivate"])
def test_a_dead_token_gets_the_same_401_whatever_killed_it(amo: Caller, verb: str):
    """AmoCRM's text does not tell the reasons apart."""
    token = amo.connect()["access_token"]
    getattr(amo.fake, verb)("anna")
    answer = amo.account(token)
    assert (answer.status_code, answer.json()) == (401, DENIED)
    assert not amo.fake.accepts_access(token)


def test_a_token_dies_at_its_end(amo: Caller):
    """A day after its issue, by the fake's clock."""
    token = amo.connect()["access_token"]
    amo.fake.advance(86398)
    assert amo.account(token).status_code == 200
    amo.fake.advance(2)
    assert amo.account(token).json() == DENIED


def test_a_token_opens_its_own_account_only(amo: Caller):
    """At another account's host it is refused like any other dead token; an unknown host is no account's."""
    token = amo.connect()["access_token"]
    other = amo.connect("boris", "other")["access_token"]
    assert amo.account(token, "other.amocrm.ru").json() == DENIED
    assert amo.account(other, "other.amocrm.ru").status_code == 200
    assert amo.account(token, "nobody.amocrm.ru").status_code == 404
    assert amo.account(token, "www.amocrm.ru").status_code == 404


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer junk"])
def test_no_token_is_a_401(amo: Caller, header: str):
    """Whatever else stands in the header."""
    answer = amo.http.get(f"https://{HOST}/api/v4/account", headers={"authorization": header})
    assert answer.json() == DENIED


def test_an_unknown_path_is_a_404(amo: Caller):
    """It names the address, as amoCRM does."""
    answer = amo.get("/api/v4/nothing", amo.connect()["access_token"])
    assert answer.json()["detail"] == "Cannot GET https://example.amocrm.ru/api/v4/nothing"


def test_each_user_sees_their_own_leads(amo: Caller):
    """Two are there from the start, and what a user's token makes is that user's."""
    anna, boris = amo.connect()["access_token"], amo.connect("boris")["access_token"]
    made = amo.http.post(
        f"https://{HOST}/api/v4/leads",
        json=[{"name": "House by the sea", "price": 5}, {"request_id": "r2"}],
        headers={"authorization": f"Bearer {anna}"},
    ).json()["_embedded"]["leads"]
    assert [lead["request_id"] for lead in made] == ["0", "r2"]
    hers = amo.get("/api/v4/leads", anna).json()["_embedded"]["leads"]
    his = amo.get("/api/v4/leads", boris).json()["_embedded"]["leads"]
    assert [lead["id"] for lead in hers][2:] == [lead["id"] for lead in made]
    assert hers[2]["name"] == "House by the sea"
    assert {lead["responsible_user_id"] for lead in his} == {amo.fake.user_id("boris")}
    assert len(his) == 2


def test_leads_come_in_pages(amo: Caller):
    """A page names the next one; after the last there is 204."""
    token = amo.connect()["access_token"]
    first = amo.get("/api/v4/leads?limit=1", token).json()
    second = amo.get("/api/v4/leads?limit=1&page=2", token).json()
    assert first["_links"]["next"]["href"].endswith("limit=1&page=2")
    assert "next" not in second["_links"]
    assert first["_embedded"]["leads"] != second["_embedded"]["leads"]
    past = amo.get("/api/v4/leads?page=9", token)
    assert (past.status_code, past.content) == (204, b"")


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"[]"])
def test_leads_that_are_no_list_of_objects_are_refused(amo: Caller, body: bytes):
    """As amoCRM refuses what it cannot validate."""
    token = amo.connect()["access_token"]
    answer = amo.http.post(f"https://{HOST}/api/v4/leads", content=body, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 400


def test_the_eighth_call_in_a_second_is_limited():
    """Seven calls pass, then 429 with amoCRM's body; token calls and other integrations do not count."""
    with caller() as amo:
        pair = amo.connect()
        answers = [amo.account(pair["access_token"]) for _ in range(8)]
        assert [answer.status_code for answer in answers] == [200] * 7 + [429]
        assert answers[-1].json()["title"] == "Too Many Requests"
        assert answers[-1].json()["retry_after"] == 1
        assert amo.refresh(pair["refresh_token"]).status_code == 200


def test_token_calls_can_count_too():
    """Whether they do is not documented; a limited call spends nothing."""
    with caller(rate_limit=2, rate_limit_tokens=True) as amo:
        token = amo.refresh(amo.connect()["refresh_token"]).json()["refresh_token"]
        assert amo.refresh(token).status_code == 429
        assert amo.fake.accepts(token)
        assert amo.fake.presentations()[-1].outcome == "failed"


def test_the_limit_is_per_second():
    """A second of real time later the integration may call again."""
    import time

    with caller(rate_limit=1) as amo:
        token = amo.connect()["access_token"]
        assert [amo.account(token).status_code for _ in range(2)] == [200, 429]
        until = time.monotonic() + 5
        while amo.account(token).status_code != 200:
            assert time.monotonic() < until


def test_the_look_up_spends_nothing(amo: Caller):
    """By refresh token, on the shared host and on the account's own."""
    token = amo.connect()["refresh_token"]
    expected = {"id": 31920194, "subdomain": "example", "domain": HOST, "top_level_domain": "ru"}
    assert amo.look_up(token).json() == amo.look_up(token, HOST).json() == expected
    assert amo.refresh(token).status_code == 200


def test_the_look_up_refuses(amo: Caller):
    """Without the header 403, for a dead token 401 with the hint, at an unknown host 404."""
    token = amo.connect()["refresh_token"]
    assert amo.look_up(None).status_code == 403
    assert amo.look_up(None).json() == {
        "title": "Access denied",
        "type": "https://developers.amocrm.ru/v3/errors/AccessDenied",
        "status": 403,
        "detail": "You need an authorization header",
    }
    assert amo.look_up(token, "nobody.amocrm.ru").status_code == 404
    assert amo.look_up("junk").json()["hint"] == "Cannot decrypt the refresh token"
    amo.fake.revoke("anna")
    assert (amo.look_up(token).status_code, amo.look_up(token).json()["hint"]) == (401, "Token has been revoked")


def test_the_look_up_can_be_missing():
    """A reading in which this host does not serve it."""
    with caller(lookup=False) as amo:
        assert amo.look_up(amo.connect()["refresh_token"]).status_code == 404


def test_the_old_look_up_takes_an_access_token(amo: Caller):
    """On www only, as long as the token lives."""
    token = amo.connect()["access_token"]
    path = "/oauth2/account/subdomain"
    assert amo.get(path, token, "www.amocrm.ru").json()["domain"] == HOST
    assert amo.get(path, token).status_code == 404
    amo.fake.expire("anna")
    assert amo.get(path, token, "www.amocrm.ru").json() == DENIED
    assert amo.get(path, "junk", "www.amocrm.ru").json() == DENIED


def test_a_renamed_account_answers_at_its_new_host_only(amo: Caller):
    """The same refresh token works there; the look-up tells the new address."""
    pair = amo.connect()
    assert amo.fake.rename_account("anna", "Moved") == "moved.amocrm.ru" == amo.fake.host("anna")
    assert amo.refresh(pair["refresh_token"]).status_code == 404
    assert amo.account(pair["access_token"]).status_code == 404
    assert amo.look_up(pair["refresh_token"]).json()["domain"] == "moved.amocrm.ru"
    assert amo.refresh(pair["refresh_token"], host="moved.amocrm.ru").status_code == 200
    assert amo.account(pair["access_token"], "moved.amocrm.ru").json()["id"] == 31920194


def test_an_account_cannot_take_anothers_name(amo: Caller):
    """The verb refuses; the name it has already is fine."""
    amo.connect("boris", "other")
    with pytest.raises(ValueError, match="taken"):
        amo.fake.rename_account("boris", "example")
    assert amo.fake.rename_account("boris", "other") == "other.amocrm.ru"


def test_a_deactivated_user_can_be_activated(amo: Caller):
    """Their refresh token works all the while."""
    pair = amo.connect()
    amo.fake.deactivate("anna")
    fresh = amo.refresh(pair["refresh_token"]).json()
    assert amo.account(fresh["access_token"]).status_code == 401
    amo.fake.activate("anna")
    assert amo.account(fresh["access_token"]).status_code == 200


def test_switching_off_ends_everybodys_grant_in_that_account(amo: Caller):
    """Other accounts, and other integrations in this one, go on."""
    anna, boris = amo.connect(), amo.connect("boris")
    other = amo.connect("carol", "other")
    mine = amo.integration
    amo.integration = amo.fake.integration(client_id="second", client_secret="example-2")
    second = amo.connect("dora")
    amo.integration = mine
    amo.fake.disable("anna")
    assert amo.refresh(anna["refresh_token"]).json()["hint"] == "Token has been revoked"
    assert amo.refresh(boris["refresh_token"]).status_code == 401
    assert amo.refresh(other["refresh_token"], host="other.amocrm.ru").status_code == 200
    assert amo.account(second["access_token"]).status_code == 200


def test_the_hook_is_signed(amo: Caller):
    """With the client secret, over client id and account number."""
    import hashlib
    import hmac

    amo.connect()
    hook = amo.fake.disabled_hook("anna")
    message = f"{amo.integration.client_id}|31920194".encode()
    signature = hmac.new(amo.integration.client_secret.encode(), message, hashlib.sha256).hexdigest()
    assert hook == {
        "client_uuid": amo.integration.client_id,
        "account_id": "31920194",
        "signature": signature,
    }
