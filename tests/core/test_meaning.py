"""What an answer without a pair means to who brought a code."""

import pytest

from amocrm_userauth._core.answers import (
    CodeRefused,
    Elsewhere,
    Late,
    Misconfigured,
    NotUnderstood,
    Refused,
    Transient,
)
from amocrm_userauth._core.meaning import meaning
from amocrm_userauth.errors import AmoCRMUnavailable, ConfigurationError, InvalidCode, ProtocolError


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (CodeRefused(), InvalidCode),
        (Refused("expired"), InvalidCode),
        (Misconfigured("client_id"), ConfigurationError),
        (Elsewhere(Misconfigured("client_id")), ConfigurationError),
        (Elsewhere(NotUnderstood("404")), InvalidCode),
        (Elsewhere(Transient("401 without JSON", doubt=False)), AmoCRMUnavailable),
        (Transient("503", doubt=True), AmoCRMUnavailable),
        (NotUnderstood("302"), ProtocolError),
        (Late(), AmoCRMUnavailable),
    ],
)
def test_each_answer_has_its_error(answer, kind):
    """By what the caller must do."""
    error = meaning(answer, "42")
    assert type(error) is kind
    assert error.user_id == "42"


def test_amocrms_wish_to_wait_is_passed_on():
    """In seconds."""
    assert meaning(Transient("429", doubt=False, wait=300), "").retry_after == 300
