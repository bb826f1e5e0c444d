"""The consent page, as a browser meets it."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.fake.kit import Caller, caller


@pytest.fixture
def amo():
    with caller() as made:
        yield made


def decide(amo: Caller, **form: str):
    given = {"client_id": amo.integration.client_id, "user": "anna", "account": "example", "decision": "allow", **form}
    return amo.http.post(f"{amo.fake.url}/oauth", data=given)


def test_the_page_is_where_the_integration_sends_the_browser(amo: Caller):
    """It shows a form that carries state and client id on, escaped."""
    page = amo.http.get(amo.integration.url_for('s"<1'))
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert 'name="state" value="s&quot;&lt;1"' in page.text
    assert amo.integration.client_id in page.text
    assert 'value="allow"' in page.text
    assert 'value="deny"' in page.text


def test_the_page_offers_the_users_and_accounts_there_are(amo: Caller):
    """Several users can connect, each to an account they choose."""
    amo.connect("boris", "other")
    page = amo.http.get(f"{amo.fake.url}/oauth/", params={"client_id": amo.integration.client_id})
    assert '<option value="boris">' in page.text
    assert '<option value="other">' in page.text
    assert 'name="state"' not in page.text


def test_allow_redirects_with_amocrms_parameters(amo: Caller):
    """Code, state, referer and client_id, in this order; the code is good for that user."""
    answer = decide(amo, state="s1", user="boris", account="other")
    assert answer.status_code == 302
    target = urlsplit(answer.headers["location"])
    params = dict(parse_qsl(target.query))
    assert f"{target.scheme}://{target.netloc}{target.path}" == amo.integration.redirect_uri
    assert list(params) == ["code", "state", "referer", "client_id"]
    assert params["state"] == "s1"
    assert params["referer"] == "other.amocrm.ru"
    pair = amo.exchange(params["code"], host=params["referer"]).json()
    assert amo.account(pair["access_token"], "other.amocrm.ru").json()["current_user_id"] == amo.fake.user_id("boris")


def test_deny_redirects_with_the_error(amo: Caller):
    """Error, client_id and state, in this order."""
    query = urlsplit(decide(amo, state="s1", decision="deny").headers["location"]).query
    assert query == f"error=access_denied&client_id={amo.integration.client_id}&state=s1"


def test_state_comes_back_only_if_it_was_sent(amo: Caller):
    """And a redirect URI with a query of its own keeps it."""
    amo.integration = amo.fake.integration(redirect_uri="https://backend.example/cb?tenant=1")
    location = decide(amo, decision="deny").headers["location"]
    assert location.startswith("https://backend.example/cb?tenant=1&error=access_denied&")
    assert "state" not in location


def test_an_unknown_integration_gets_no_form(amo: Caller):
    """There is nowhere to redirect to."""
    assert amo.http.get(f"{amo.fake.url}/oauth?client_id=nobody").status_code == 404


@pytest.mark.parametrize("missing", ["user", "account", "decision"])
def test_a_form_must_be_filled_in(amo: Caller, missing: str):
    """Nothing is decided otherwise."""
    assert decide(amo, **{missing: ""}).status_code == 400


def test_the_page_has_no_other_methods(amo: Caller):
    """A PUT meets the API's refusal."""
    assert amo.http.put(f"{amo.fake.url}/oauth").status_code == 404


def test_callback_gives_the_same_parameters_without_a_browser(amo: Caller):
    """For allow and for deny; the integration can be named."""
    amo.fake.integration(client_id="second", client_secret="example-2")
    params = amo.fake.callback("anna", "example", "s1", client_id=amo.integration.client_id)
    assert list(params) == ["code", "state", "referer", "client_id"]
    assert params["client_id"] == amo.integration.client_id
    assert amo.fake.callback(state="s1", allow=False) == {
        "error": "access_denied",
        "client_id": "second",
        "state": "s1",
    }
