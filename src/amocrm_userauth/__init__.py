"""Each user's own amoCRM connection: OAuth, stored tokens, always a valid access token."""

from amocrm_userauth import errors, events
from amocrm_userauth._async.memory import AsyncMemoryTokenStore
from amocrm_userauth._async.oauth import AsyncOAuthClient
from amocrm_userauth._async.ports import AsyncStateStore, AsyncTokenStore
from amocrm_userauth._async.service import AsyncUserAuth
from amocrm_userauth._core.integration import Integration
from amocrm_userauth._core.model import (
    AuthorizationRequest,
    Callback,
    ConnectionStatus,
    Failure,
    RefreshReport,
    StateRecord,
    TokenPair,
    UserToken,
)
from amocrm_userauth._core.state import StateManager
from amocrm_userauth._sync.memory import MemoryTokenStore
from amocrm_userauth._sync.oauth import OAuthClient
from amocrm_userauth._sync.ports import StateStore, TokenStore
from amocrm_userauth._sync.service import UserAuth

__all__ = [
    "AsyncMemoryTokenStore",
    "AsyncOAuthClient",
    "AsyncStateStore",
    "AsyncTokenStore",
    "AsyncUserAuth",
    "AuthorizationRequest",
    "Callback",
    "ConnectionStatus",
    "Failure",
    "Integration",
    "MemoryTokenStore",
    "OAuthClient",
    "RefreshReport",
    "StateManager",
    "StateRecord",
    "StateStore",
    "TokenPair",
    "TokenStore",
    "UserAuth",
    "UserToken",
    "errors",
    "events",
]
