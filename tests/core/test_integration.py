"""The integration's settings: checked at construction, named when wrong, never shown."""

import copy
import os
import pickle
from dataclasses import FrozenInstanceError, replace
from urllib.parse import parse_qs, urlsplit

import pytest

from amocrm_userauth import Integration
from amocrm_userauth.errors import ConfigurationError

SECRET = "example-client-secret"
GOOD = ("client", SECRET, "https://app.example/callback")
ENV = {"AMO_CLIENT_ID": "client", "AMO_CLIENT_SECRET": SECRET, "AMO_REDIRECT_URI": "https://app.example/callback"}


def refused(**changes):
    fields = dict(zip(("client_id", "client_secret", "redirect_uri"), GOOD, strict=True))
    with pytest.raises(ConfigurationError) as caught:
        Integration(**fields | changes)
    return str(caught.value)


@pytest.mark.parametrize("name", ["client_id", "client_secret", "redirect_uri"])
@pytest.mark.parametrize(
    "value", [None, "", " ", 17, " example-client", "example-client\n", "exam\0ple", "example\udcff"]
)
def test_a_missing_or_torn_setting_is_named_and_not_shown(name, value):
    """Also one with a byte that the environment could not decode."""
    message = refused(**{name: value})
    assert f"Integration.{name} " in message
    assert "example" not in message


@pytest.mark.parametrize(
    "value",
    ["app.example/callback", "foryouapp://amo", "//app.example", "https://", "https://a#b", "https://[::1", "https:/x"],
)
@pytest.mark.parametrize("name", ["redirect_uri", "authorize_url"])
def test_an_address_must_be_one(name, value):
    """AmoCRM is not known to take custom schemes; a fragment would swallow the state."""
    assert f"Integration.{name} " in refused(**{name: value})


def test_an_authorize_url_must_be_text():
    """Any other type is named as well."""
    assert "authorize_url" in refused(authorize_url=17)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"brand": "bitrix"}, "brand"),
        ({"mode": "window"}, "mode"),
        ({"host_suffixes": ()}, "host_suffixes"),
        ({"host_suffixes": ("ru",)}, "host_suffixes"),
        ({"host_suffixes": ("amocrm.ru", "")}, "host_suffixes"),
        ({"host_suffixes": "amocrm.ru"}, "host_suffixes"),
        ({"account_domain": "example.evil.com"}, "account_domain"),
        ({"account_domain": "https://example.amocrm.ru:444"}, "account_domain"),
        ({"only_this_account": True}, "account_id"),
        ({"only_this_account": True, "account_id": "example"}, "account_id"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_by_name(changes, name):
    """Each message starts with the setting's name."""
    assert refused(**changes).startswith(f"Integration.{name} ")


def test_settings_are_kept_in_one_spelling():
    """Domains in lower case without a scheme, the account's number as text."""
    made = Integration(
        *GOOD, account_domain="https://Example.AMOCRM.ru/", account_id=31920194, host_suffixes=(".AmoCRM.ru",)
    )
    assert made.account_domain == "example.amocrm.ru"
    assert made.account_id == "31920194"
    assert made.host_suffixes == ("amocrm.ru",)


def test_only_this_account_needs_its_number():
    """Then it is accepted."""
    assert Integration(*GOOD, account_id="31920194", only_this_account=True).only_this_account


def test_an_integration_is_a_value_and_does_not_show_its_secret():
    """Frozen, equal by its fields, replaceable, picklable."""
    made = Integration(*GOOD)
    assert SECRET not in repr(made)
    assert made == Integration(*GOOD) == copy.deepcopy(made) == pickle.loads(pickle.dumps(made))
    assert hash(made) == hash(Integration(*GOOD))
    assert replace(made, client_id="other").client_id == "other"
    with pytest.raises(FrozenInstanceError):
        made.client_id = "x"


@pytest.mark.parametrize("name", ["AMO_CLIENT_ID", "AMO_CLIENT_SECRET", "AMO_REDIRECT_URI"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_variable_is_named_and_nothing_is_shown(name, value):
    """What to set, and where it comes from."""
    environ = ENV | {name: value}
    if value is None:
        del environ[name]
    with pytest.raises(ConfigurationError, match=name) as caught:
        Integration.from_env(environ)
    assert SECRET not in str(caught.value)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch):
    """All five variables; spaces around them do not matter."""
    more = {"AMO_DOMAIN": " example.amocrm.ru\n", "AMO_ACCOUNT_ID": "31920194"}
    expected = Integration(*GOOD, account_domain="example.amocrm.ru", account_id="31920194")
    assert Integration.from_env(ENV | more) == expected
    for name, value in (ENV | more).items():
        monkeypatch.setitem(os.environ, name, value)
    assert Integration.from_env() == expected


def test_the_account_may_be_left_out_of_the_environment():
    """Then there are no defaults."""
    made = Integration.from_env(ENV)
    assert (made.account_domain, made.account_id) == ("", "")


@pytest.mark.parametrize(
    ("changes", "page", "host"),
    [
        ({}, "https://www.amocrm.ru/oauth", "www.amocrm.ru"),
        ({"brand": "kommo"}, "https://www.kommo.com/oauth", "www.kommo.com"),
        ({"authorize_url": "http://127.0.0.1:1/oauth?a=b"}, "http://127.0.0.1:1/oauth", "www.amocrm.ru"),
    ],
)
def test_the_consent_page_is_the_brands(changes, page, host):
    """With the client and the state, escaped; a page of one's own keeps its query."""
    made = Integration(*GOOD, **changes)
    parts = urlsplit(made.url_for("example state&x=1"))
    query = parse_qs(parts.query)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == page
    assert (query["client_id"], query["state"]) == (["client"], ["example state&x=1"])
    assert "mode" not in query
    assert query.get("a") == (["b"] if "authorize_url" in changes else None)
    assert made.platform_host == host


@pytest.mark.parametrize("mode", ["popup", "post_message"])
def test_the_mode_is_sent_where_one_is_set(mode):
    """And the redirect URI is not: amoCRM takes the registered one."""
    query = parse_qs(urlsplit(Integration(*GOOD, mode=mode).url_for("s")).query)
    assert query == {"client_id": ["client"], "state": ["s"], "mode": [mode]}
