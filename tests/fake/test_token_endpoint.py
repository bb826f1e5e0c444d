"""What the fake's token endpoint takes and refuses."""

import base64
import json
from dataclasses import replace

import pytest

from tests.fake.kit import Caller, caller, problem


@pytest.fixture
def amo():
    with caller() as made:
        yield made


def claims_of(token: str) -> dict[str, object]:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_a_code_becomes_a_pair_of_realistic_size(amo: Caller):
    """The answer has amoCRM's fields, and tokens of about a thousand characters."""
    pair = amo.connect()
    assert pair.keys() == {"token_type", "expires_in", "access_token", "refresh_token", "server_time"}
    assert (pair["token_type"], pair["expires_in"]) == ("Bearer", 86400)
    assert 900 < len(pair["access_token"]) < 1300
    assert len(pair["refresh_token"]) == 992
    assert pair["refresh_token"].startswith("def50200")


def test_the_access_token_has_amocrms_claims(amo: Caller):
    """Names and types are those that were read off a real token."""
    claims = claims_of(amo.connect()["access_token"])
    assert claims["aud"] == amo.integration.client_id
    assert claims["sub"] == str(amo.fake.user_id("anna"))
    assert claims["account_id"] == amo.fake.account_id("anna") == 31920194
    assert (claims["base_domain"], claims["api_domain"]) == ("amocrm.ru", "api-b.amocrm.ru")
    assert (claims["version"], claims["grant_type"]) == (2, "")
    assert claims["exp"] - claims["iat"] == 86400
    assert claims["scopes"][0] == "crm"
    assert len(claims["jti"]) == 80
    assert len(claims["hash_uuid"]) == 36


def test_claims_and_server_time_can_be_left_out():
    """Older tokens have no api_domain, older answers no server_time."""
    with caller(without_claims=("api_domain",), server_time=False, access_lifetime=60) as amo:
        pair = amo.connect()
        assert "api_domain" not in claims_of(pair["access_token"])
        assert "server_time" not in pair
        assert pair["expires_in"] == 60


def test_a_form_is_taken_like_json(amo: Caller):
    """AmoCRM's own client sends a form."""
    fields = amo.fields(grant_type="authorization_code", code=amo.fake.authorize())
    assert amo.http.post("https://example.amocrm.ru/oauth2/access_token", data=fields).status_code == 200


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"client_id": "other"}, "Check the `client_id` parameter"),
        ({"client_secret": "other"}, "Check the `client_secret` parameter"),
        (
            {"redirect_uri": "https://backend.example/api/amo-crm/callback/"},
            "Redirect URI is not associated with client",
        ),
        ({"code": "def50200aa"}, "Cannot decrypt the authorization code"),
        ({"code": ""}, "Check the `code` parameter"),
        ({"host": "www.amocrm.ru"}, "Invalid account"),
        ({"grant_type": "password"}, "Check that all required parameters have been provided"),
    ],
)
def test_a_wrong_exchange_is_refused_and_spends_nothing(amo: Caller, change: dict[str, str], hint: str):
    """Each refusal has amoCRM's words, and the code still works afterwards."""
    code = amo.fake.authorize()
    refused = amo.exchange(**{"code": code, **change})
    assert (refused.status_code, refused.json()) == (400, problem(400, hint))
    assert refused.headers["content-type"] == "application/problem+json"
    assert amo.exchange(code).status_code == 200


def test_a_code_works_once(amo: Caller):
    """The second use of a code is refused as revoked."""
    code = amo.fake.authorize()
    amo.exchange(code).raise_for_status()
    assert amo.exchange(code).json() == problem(400, "Authorization code has been revoked")


def test_a_code_lives_twenty_minutes(amo: Caller):
    """A second before its end a code works, at its end it does not."""
    early, late = amo.fake.authorize(), amo.fake.authorize("boris")
    amo.fake.advance(1199)
    assert amo.exchange(early).status_code == 200
    amo.fake.advance(1)
    assert amo.exchange(late).json() == problem(400, "Authorization code has expired")


def test_a_code_of_another_integration_is_refused(amo: Caller):
    """A code belongs to the integration that asked for it."""
    code = amo.fake.authorize()
    other = amo.fake.integration(client_id="other", client_secret="other-example")
    refused = amo.exchange(code, client_id=other.client_id, client_secret=other.client_secret)
    assert refused.json()["hint"] == "Authorization code was not issued to this client"


def test_the_host_of_another_account_is_refused(amo: Caller):
    """Codes and refresh tokens work at their own account's host only."""
    code = amo.fake.authorize()
    amo.connect("boris", "other")
    assert amo.exchange(code, host="other.amocrm.ru").json() == problem(400, "Invalid account")
    token = amo.exchange(code).json()["refresh_token"]
    assert amo.refresh(token, host="other.amocrm.ru").json() == problem(400, "Invalid account")
    assert amo.refresh(token).status_code == 200


@pytest.mark.parametrize("status", [401, 404])
def test_an_unknown_host_is_refused(status: int):
    """A host of no account answers 404 or 401; both are known."""
    with caller(unknown_host=status) as amo:
        token = amo.connect()["refresh_token"]
        assert amo.refresh(token, host="nobody.amocrm.ru").status_code == status
        assert amo.refresh(token).status_code == 200


@pytest.mark.parametrize("status", [400, 401])
def test_refusals_of_a_refresh_token(status: int):
    """Garbage, another integration's, spent and expired tokens are refused with their own hints."""
    with caller(status_style=status) as amo:
        token = amo.connect()["refresh_token"]
        other = amo.fake.integration(client_id="other", client_secret="other-example")
        foreign = amo.refresh(token, client_id="other", client_secret=other.client_secret)
        fresh = amo.refresh(token).json()["refresh_token"]
        spent = amo.refresh(token)
        garbage = amo.refresh("def50200aa")
        amo.fake.advance(90 * 86400)
        expired = amo.refresh(fresh)
        assert foreign.json() == problem(status, "Token is not linked to client")
        assert garbage.json() == problem(status, "Cannot decrypt the refresh token")
        assert spent.json() == problem(status, "Token has been revoked")
        assert expired.json() == problem(status, "Token has expired")
        assert {each.status_code for each in (foreign, garbage, spent, expired)} == {status}


def test_a_missing_refresh_token_is_refused(amo: Caller):
    """A call without the token names the parameter."""
    assert amo.refresh("").json()["hint"] == "Check the `refresh_token` parameter"


def test_an_expired_refresh_token_by_verb(amo: Caller):
    """A test need not wait three months."""
    token = amo.connect()["refresh_token"]
    amo.fake.expire_refresh("anna")
    assert amo.refresh(token).json()["hint"] == "Token has expired"


@pytest.mark.parametrize("change", ["client_id", "client_secret", "redirect_uri"])
def test_the_refusals_of_2020(change: str):
    """Then every mismatch of the integration was one 401 without a hint."""
    with caller(client_mismatch="2020") as amo:
        refused = amo.exchange(**{"code": amo.fake.authorize(), change: "https://other.example/"})
        assert refused.status_code == 401
        assert refused.json() == {
            "title": "Некорректный клиент",
            "type": "https://developers.amocrm.ru/v3/errors/OAuthProblemJson",
            "status": 401,
            "detail": "Авторизация клиента не прошла",
        }


def test_a_replaced_secret_is_refused(amo: Caller):
    """Registering the integration anew ends the old secret; a changed copy of the settings changes nothing."""
    code = amo.fake.authorize()
    amo.integration = replace(amo.integration, client_secret="wrong-example")
    assert amo.exchange(code).json()["hint"] == "Check the `client_secret` parameter"
    amo.fake.integration(client_secret="wrong-example")
    assert amo.exchange(code).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"{", "application/json"), (b"[]", "application/json"), (b'{"client_id": 1}', "application/json"), (b"", "")],
)
def test_an_unreadable_body_is_refused(amo: Caller, body: bytes, kind: str):
    """Nothing readable is a missing client id."""
    answer = amo.http.post(
        "https://example.amocrm.ru/oauth2/access_token", content=body, headers={"content-type": kind}
    )
    amo.connect()
    answer = amo.http.post(
        "https://example.amocrm.ru/oauth2/access_token", content=body, headers={"content-type": kind}
    )
    assert (answer.status_code, answer.json()["hint"]) == (400, "Check the `client_id` parameter")


def test_only_post_reaches_the_token_endpoint(amo: Caller):
    """A GET is no token call."""
    assert amo.http.get("https://example.amocrm.ru/oauth2/access_token").status_code == 404
    assert amo.fake.token_calls() == 0


def test_kommo_is_a_platform_of_its_own(amo: Caller):
    """An integration of kommo.com meets other accounts, hosts and claims."""
    mine = amo.fake.integration(client_id="kommo", client_secret="example-secret", brand="kommo")
    params = amo.fake.callback("kim")
    assert params["referer"] == "example.kommo.com" == amo.fake.host("kim")
    pair = amo.exchange(
        params["code"], host="example.kommo.com", client_id=mine.client_id, client_secret=mine.client_secret
    ).json()
    assert claims_of(pair["access_token"])["base_domain"] == "kommo.com"
    assert amo.account("junk", "example.kommo.com").json()["detail"] == "Invalid user name or password"
    assert amo.fake.account_id("kim") != 31920194
