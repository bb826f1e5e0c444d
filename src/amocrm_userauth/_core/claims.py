"""What an access token says about itself: for routing and bookkeeping, never as identity.

AmoCRM publishes no key, so the signature cannot be checked; every claim may be absent or wrong.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

__all__ = ["Claims", "read_claims"]

_MAX_SCOPES = 64


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims that are used; ``""`` or ``()`` where absent or of another type."""

    account_id: str = ""
    user_id: str = ""
    base_domain: str = ""
    api_domain: str = ""
    scopes: tuple[str, ...] = ()


def read_claims(access_token: str) -> Claims:
    """Return what can be read of a JWT's payload without checking its signature; empty claims for anything else."""
    payload = _payload(access_token)
    return Claims(
        account_id=_digits(payload.get("account_id")),
        user_id=_digits(payload.get("sub")),
        base_domain=_text(payload.get("base_domain")),
        api_domain=_text(payload.get("api_domain")),
        scopes=_texts(payload.get("scopes")),
    )


def _payload(access_token: str) -> Mapping[str, object]:
    segments = access_token.split(".")
    if len(segments) != 3:  # noqa: PLR2004 - header, payload, signature (RFC 7519)
        return {}
    padded = segments[1] + "=" * (-len(segments[1]) % 4)
    try:
        parsed: object = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}


def _digits(value: object) -> str:
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return text if text.isascii() and text.isdecimal() and len(text) <= 20 else ""  # noqa: PLR2004 - 64 bits


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= 253 else ""  # noqa: PLR2004 - a host's length


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(text for item in cast("list[object]", value)[:_MAX_SCOPES] if (text := _text(item)))
