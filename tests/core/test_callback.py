"""What amoCRM's redirect says, checked before anything is done with it."""

from datetime import UTC, datetime

import pytest

from amocrm_userauth import Integration, StateManager
from amocrm_userauth._core.callback import Query, read_callback
from amocrm_userauth.errors import InvalidState, UntrustedHost

INTEGRATION = Integration("client", "example-secret", "https://app.example/callback")
PINNED = Integration("client", "example-secret", "https://app.example/callback", account_domain="example.amocrm.ru")
STATES = StateManager(INTEGRATION, clock=lambda: datetime(2026, 3, 1, tzinfo=UTC))
STATE = STATES.issue("42")[0]
GOOD = [("code", "example-code"), ("state", STATE), ("referer", "Example.amocrm.ru"), ("client_id", "client")]


def read(params, integration=INTEGRATION):
    return read_callback(Query(params), integration, STATES)


def reason(params):
    with pytest.raises(InvalidState) as caught:
        read(params)
    return caught.value.reason


def without(name):
    return [item for item in GOOD if item[0] != name]


def having(name, value):
    return [*without(name), (name, value)]


def test_a_good_answer_has_its_code_and_host():
    """The host is in one spelling; the ticket is the state's."""
    callback, ticket = read(iter(GOOD))
    assert (callback.code, callback.state, callback.error) == ("example-code", STATE, "")
    assert callback.referer == "example.amocrm.ru"
    assert ticket == STATES.verify(STATE, user_id="42")


def test_a_refusal_with_a_good_state_is_passed_on():
    """Whatever amoCRM calls it, the application gets one word."""
    callback, _ = read([("error", "<script>"), ("state", STATE), ("client_id", "client")])
    assert (callback.error, callback.code) == ("access_denied", "")


def test_a_refusal_without_a_good_state_is_nothing():
    """Anybody could have sent it."""
    assert reason([("error", "access_denied"), ("client_id", "client")]) == "missing"


@pytest.mark.parametrize("name", ["code", "state", "referer", "client_id", "anything"])
def test_a_parameter_given_twice_is_refused(name):
    """Two readers of such a query would see two things."""
    assert reason([*GOOD, (name, "x"), (name, "x")]) == "repeated"


@pytest.mark.parametrize("value", ["1", "0", ""])
def test_a_widgets_webhook_is_refused(value):
    """It has no user."""
    assert reason([*GOOD, ("from_widget", value)]) == "from_widget"


@pytest.mark.parametrize(("value", "why"), [("", "missing"), ("x", "malformed"), (STATE[:-1] + "~", "malformed")])
def test_a_wrong_state_is_refused(value, why):
    """Before anything else in the answer counts."""
    assert reason(having("state", value)) == why


def test_an_answer_for_another_client_is_refused():
    """One that names no client is not."""
    assert reason(having("client_id", "other")) == "client"
    assert read(without("client_id"))[0].code == "example-code"


@pytest.mark.parametrize("code", ["", "x" * 4097, "код", "a\nb", "a\0b", "\x7f"])
def test_what_cannot_be_a_code_is_refused(code):
    """Bounded, printable ASCII."""
    assert reason(having("code", code)) == "malformed"


def test_a_missing_code_is_refused():
    """There would be nothing to exchange."""
    assert reason(without("code")) == "malformed"


@pytest.mark.parametrize("referer", ["evil.example", "example.amocrm.ru:444", "https://x@example.amocrm.ru"])
def test_a_host_that_is_not_amocrms_is_refused(referer):
    """The client secret would be posted there."""
    with pytest.raises(UntrustedHost):
        read(having("referer", referer))


def test_a_missing_host_needs_a_configured_one():
    """Else nobody knows where the code is good."""
    with pytest.raises(UntrustedHost, match="account_domain"):
        read(without("referer"))
    assert read(without("referer"), PINNED)[0].referer == ""
