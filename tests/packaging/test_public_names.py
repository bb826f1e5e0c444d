"""The names that applications import."""

import importlib
import inspect

import pytest

import amocrm_userauth

NAMES = {
    "amocrm_userauth": [
        "AsyncMemoryTokenStore",
        "AsyncOAuthClient",
        "AsyncStateStore",
        "AsyncTokenStore",
        "AsyncUserAuth",
        "AuthorizationRequest",
        "ConnectionStatus",
        "Integration",
        "MemoryTokenStore",
        "OAuthClient",
        "RefreshReport",
        "StateManager",
        "StateStore",
        "TokenPair",
        "TokenStore",
        "UserAuth",
        "UserToken",
        "errors",
    ],
    "amocrm_userauth.sqlalchemy": [
        "AsyncSQLAlchemyTokenStore",
        "SQLAlchemyTokenStore",
        "create_schema",
        "state_table",
        "token_table",
    ],
    "amocrm_userauth.crypto": ["FernetCipher"],
    "amocrm_userauth.httpx": ["client", "http_auth"],
    "amocrm_userauth.httpx2": ["client", "http_auth"],
    "amocrm_userauth.fastapi": ["access_token", "amocrm_client", "amocrm_router", "install_error_handlers"],
    "amocrm_userauth.testing": [
        "AsyncStoreContract",
        "FakeAmoCRM",
        "StoreContract",
        "async_http_client",
        "http_client",
    ],
}
ERRORS = {
    "AmoCRMUserAuthError": [
        "CallbackError",
        "ReauthorizationRequired",
        "TemporarilyUnavailable",
        "ProtocolError",
        "ConfigurationError",
        "TokenNotSaved",
    ],
    "CallbackError": [
        "InvalidState",
        "AuthorizationDenied",
        "InvalidCode",
        "UntrustedHost",
        "WrongAccount",
        "AlreadyConnectedByAnother",
    ],
    "ReauthorizationRequired": ["NotConnected", "GrantRevoked"],
    "TemporarilyUnavailable": ["AmoCRMUnavailable", "RefreshInProgress", "StoreUnavailable"],
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NAMES.items() for name in names])
def test_a_public_name_can_be_imported(module: str, name: str) -> None:
    """Each promised name is there and is announced."""
    loaded = importlib.import_module(module)
    assert hasattr(loaded, name)
    assert name in loaded.__all__


@pytest.mark.parametrize("module", NAMES)
def test_announced_names_exist_once(module: str) -> None:
    """``__all__`` tells no lie."""
    loaded = importlib.import_module(module)
    assert all(hasattr(loaded, name) for name in loaded.__all__)
    assert len(loaded.__all__) == len(set(loaded.__all__))


@pytest.mark.parametrize(("parent", "name"), [(parent, name) for parent, names in ERRORS.items() for name in names])
def test_the_error_tree_is_as_drawn(parent: str, name: str) -> None:
    """Who catches a branch catches its leaves."""
    errors = amocrm_userauth.errors
    assert issubclass(getattr(errors, name), getattr(errors, parent))
    assert name in errors.__all__


def test_the_async_service_is_all_coroutines_and_has_the_same_methods() -> None:
    """Code moves between the two worlds by adding or dropping ``await``."""

    def methods(service: type) -> set[str]:
        """Return the public methods."""
        return {name for name, _ in inspect.getmembers(service, inspect.isfunction) if not name.startswith("_")}

    asynchronous = amocrm_userauth.AsyncUserAuth
    assert methods(asynchronous) - {"aclose"} == methods(amocrm_userauth.UserAuth) - {"close"}
    assert all(inspect.iscoroutinefunction(getattr(asynchronous, name)) for name in methods(asynchronous))
