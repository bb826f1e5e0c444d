"""Made-up users with pairs as long as amoCRM's."""

import random
from datetime import UTC, datetime, timedelta

from amocrm_userauth import Integration, TokenPair, UserToken

__all__ = ["INTEGRATION", "names", "row"]

INTEGRATION = Integration("example-client-id", "example-client-secret", "https://backend.example/callback")
_LENGTH = 900


def names(count: int) -> list[str]:
    """Return user ids in random order, the same in every run."""
    users = [f"user-{number:07}" for number in range(count)]
    random.Random(7).shuffle(users)
    return users


def row(
    user_id: str,
    *,
    saved_ago: timedelta = timedelta(0),
    refresh_token: str = "",
    client_id: str = INTEGRATION.client_id,
) -> UserToken:
    """Return a row whose access token is good for a day from when it was saved."""
    saved_at = datetime.now(UTC) - saved_ago
    pair = TokenPair(
        access_token=f"example-access-{user_id}-".ljust(_LENGTH, "a"),
        refresh_token=refresh_token or f"example-refresh-{user_id}-".ljust(_LENGTH, "r"),
        expires_at=saved_at + timedelta(days=1),
        account_id="31920194",
        amocrm_user_id="7",
        domain="example.amocrm.ru",
        api_domain="api-a.amocrm.ru",
        scopes=("crm",),
    )
    return UserToken(
        user_id=user_id,
        pair=pair,
        revision=f"revision-of-{user_id}",
        client_id=client_id,
        pair_saved_at=saved_at,
    )
