"""The error tree: what is on the wire, and that every error survives a queue."""

import copy
import inspect
import pickle

import pytest

from amocrm_userauth import errors
from amocrm_userauth.errors import (
    AmoCRMUserAuthError,
    CallbackError,
    GrantRevoked,
    InvalidState,
    NotConnected,
    ReauthorizationRequired,
    TemporarilyUnavailable,
)

KINDS = [getattr(errors, name) for name in errors.__all__]
WIRE = {
    "InvalidState": ("invalid_state", 400, CallbackError),
    "AuthorizationDenied": ("access_denied", 400, CallbackError),
    "InvalidCode": ("invalid_code", 400, CallbackError),
    "UntrustedHost": ("untrusted_host", 400, CallbackError),
    "WrongAccount": ("wrong_account", 400, CallbackError),
    "AlreadyConnectedByAnother": ("already_connected_by_another", 400, CallbackError),
    "NotConnected": ("not_connected", 409, ReauthorizationRequired),
    "GrantRevoked": ("grant_revoked", 409, ReauthorizationRequired),
    "AmoCRMUnavailable": ("amocrm_unavailable", 503, TemporarilyUnavailable),
    "RefreshInProgress": ("refresh_in_progress", 503, TemporarilyUnavailable),
    "StoreUnavailable": ("store_unavailable", 503, TemporarilyUnavailable),
    "ProtocolError": ("protocol_error", 502, AmoCRMUserAuthError),
    "ConfigurationError": ("configuration_error", 500, AmoCRMUserAuthError),
    "TokenNotSaved": ("token_not_saved", 500, AmoCRMUserAuthError),
}


@pytest.mark.parametrize("name", WIRE)
def test_the_code_and_status_are_the_contracts(name):
    """Each error has its own code, its branch's status, and its branch as a base."""
    kind = getattr(errors, name)
    code, status, branch = WIRE[name]
    assert (kind.code, kind.http_status) == (code, status)
    assert issubclass(kind, branch)


def test_the_tree_is_complete():
    """Every class of the module is public, and each code is used once."""
    made = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert made == {*errors.__all__}
    assert errors.__all__ == sorted(errors.__all__)
    assert len({kind.code for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_what_happened(kind):
    """Without a message it has its class's own, and without a user it has none."""
    error = kind()
    assert str(error) == error.message == kind.default_message
    assert error.user_id == ""
    assert str(kind("example happened", user_id="42")) == "example happened"


def same(one, other):
    return type(one) is type(other) and one.args == other.args and one.__dict__ == other.__dict__


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickling_and_copying(kind, clone):
    """With its message, user and data; the copy is an error of its own."""
    error = kind("example happened", user_id="42")
    for name, value in (("reason", "expired"), ("retry_after", 7.5)):
        if hasattr(error, name):
            setattr(error, name, value)
    copied = clone(error)
    assert copied is not error
    assert same(copied, error)
    assert copied.__traceback__ is None


def test_an_applications_own_subclass_survives_pickling():
    """Also with a constructor of another shape."""
    error = OwnError(17)
    copied = pickle.loads(pickle.dumps(error))
    assert same(copied, error)
    assert copied.number == 17


class OwnError(NotConnected):
    def __init__(self, number):
        super().__init__(f"example {number}")
        self.number = number


def test_the_data_of_an_error_is_in_attributes():
    """Reason and time to wait need no parsing."""
    assert InvalidState(reason="used").reason == "used"
    assert GrantRevoked(reason="expired").reason == "expired"
    assert TemporarilyUnavailable(retry_after=3).retry_after == 3
    assert TemporarilyUnavailable().retry_after is None
