"""Tokens that look like amoCRM's: size, alphabet and claims. They are random and open nothing."""

import base64
import hashlib
import json
import secrets
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amocrm_userauth.testing._fake.model import Account, Person
    from amocrm_userauth.testing._fake.settings import Settings

__all__ = ["access_token", "fingerprint", "opaque"]

_OPAQUE_LENGTH = 992
_SIGNATURE_BYTES = 256
SCOPES = ("crm", "files", "files_delete", "notifications", "push_notifications")


def fingerprint(token: str) -> str:
    """Return a short name of a token that does not give it away."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()[:12]


def opaque() -> str:
    """Return something like a refresh token or an authorization code: 992 hex digits after ``def50200``."""
    return "def50200" + secrets.token_hex((_OPAQUE_LENGTH - 8) // 2)


def access_token(settings: "Settings", client_id: str, account: "Account", person: "Person", issued: int) -> str:
    """Return something like an access token: a JWT with amoCRM's claims and a signature that nobody can check."""
    jti = secrets.token_hex(40)
    claims: dict[str, object] = {
        "aud": client_id,
        "jti": jti,
        "iat": issued,
        "nbf": issued,
        "exp": issued + settings.access_lifetime,
        "sub": str(person.id),
        "grant_type": "",
        "account_id": account.id,
        "base_domain": account.suffix,
        "version": 2,
        "scopes": list(SCOPES),
        "hash_uuid": str(uuid.uuid4()),
        "api_domain": account.api_domain,
    }
    kept = {name: value for name, value in claims.items() if name not in settings.without_claims}
    parts = (_packed({"typ": "JWT", "alg": "RS256", "jti": jti}), _packed(kept))
    return ".".join((*parts, _encoded(secrets.token_bytes(_SIGNATURE_BYTES))))


def _packed(value: dict[str, object]) -> str:
    return _encoded(json.dumps(value, separators=(",", ":")).encode())


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
