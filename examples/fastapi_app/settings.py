"""What the application reads from its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from amocrm_userauth import Integration


@dataclass(frozen=True)
class Settings:
    """The integration of amoCRM, where the tokens are kept, with which keys, and how the mobile app is reached."""

    integration: Integration
    token_keys: tuple[str, ...] = field(repr=False)
    database_url: str = "sqlite+aiosqlite:///amocrm.sqlite"
    deep_link: str = "foryouapp://amo-crm/callback"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read ``AMO_*`` (see ``Integration.from_env``), ``TOKEN_KEYS`` (newest first, by commas) and the others.

        Make a key with ``python -c "from amocrm_userauth.crypto import FernetCipher as F; print(F.generate_key())"``.
        """
        env = os.environ if environ is None else environ
        more = {name: env[name.upper()] for name in ("database_url", "deep_link") if name.upper() in env}
        return cls(Integration.from_env(env), tuple(env["TOKEN_KEYS"].split(",")), **more)
