"""What tests of an application need: a fake amoCRM that behaves like the real one, and a suite for token stores.

Nothing here is imported by the library itself. Names are loaded when they are first used, so the store suite does not
need the fake's packages (extra ``testing``) and the fake does not need pytest.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amocrm_userauth.testing._async.contract import AsyncStoreContract
    from amocrm_userauth.testing._sync.contract import StoreContract
    from amocrm_userauth.testing.fake import (
        FakeAmoCRM,
        Hold,
        IssuedPair,
        LedgerEntry,
        LoggedRequest,
        Presentation,
        async_http_client,
        async_http_transport,
        fingerprint,
        http_client,
        http_transport,
    )

__all__ = [
    "AsyncStoreContract",
    "FakeAmoCRM",
    "Hold",
    "IssuedPair",
    "LedgerEntry",
    "LoggedRequest",
    "Presentation",
    "StoreContract",
    "async_http_client",
    "async_http_transport",
    "fingerprint",
    "http_client",
    "http_transport",
]

_ELSEWHERE = {"AsyncStoreContract": "_async.contract", "StoreContract": "_sync.contract"}


def __getattr__(name: str) -> object:
    """Load a public name on its first use."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'fake')}"), name)
