"""The site's ``AMOCRM_USERAUTH``, read and checked. What it leaves out comes from the environment or is the default."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, cast

from django.conf import settings
from django.utils.module_loading import import_string

from amocrm_userauth._core.integration import Integration
from amocrm_userauth.crypto import FernetCipher, TokenCipher
from amocrm_userauth.errors import ConfigurationError

__all__ = ["ENVIRONMENT", "INTEGRATION", "KEYS", "NAME", "REQUIRED", "SERVICE", "Options", "unknown"]

NAME = "AMOCRM_USERAUTH"

ENVIRONMENT = {
    "CLIENT_ID": "AMO_CLIENT_ID",
    "CLIENT_SECRET": "AMO_CLIENT_SECRET",
    "REDIRECT_URI": "AMO_REDIRECT_URI",
    "ACCOUNT_DOMAIN": "AMO_DOMAIN",
    "ACCOUNT_ID": "AMO_ACCOUNT_ID",
}
"""The settings that the environment gives where the site does not."""

REQUIRED = ("CLIENT_ID", "CLIENT_SECRET", "REDIRECT_URI")

INTEGRATION = (
    *ENVIRONMENT,
    "BRAND",
    "AUTHORIZE_URL",
    "MODE",
    "HOST_SUFFIXES",
    "ONLY_THIS_ACCOUNT",
    "ONE_USER_PER_LOGIN",
)
SERVICE = (
    "STATE_KEYS",
    "STATE_POLICY",
    "LEEWAY",
    "EXCHANGE_BUDGET",
    "LEASE",
    "WAIT_BUDGET",
    "SAVE_BUDGET",
    "CACHE_TTL",
    "SHARED_USER_ID",
)
_STORE = ("DATABASE", "CONN_MAX_AGE", "LOCK_TIMEOUT")
_OWN = ("ENCRYPTION_KEYS", "CIPHER", "HTTP_CLIENT", "CURRENT_USER", "DEEP_LINK")
KEYS = (*INTEGRATION, *SERVICE, *_STORE, *_OWN)
"""Every setting there is."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the site has set. Values may be secrets: the ``repr`` shows names only."""

    given: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls) -> "Options":
        """Read the settings as they are now. Raises ``ConfigurationError`` for a name that means nothing."""
        given: object = getattr(settings, NAME, {})
        if not isinstance(given, Mapping):
            del given
            raise ConfigurationError(f"settings.{NAME} must be a dict")
        strange = unknown(cast("Mapping[str, Any]", given))
        if strange:
            del given
            raise ConfigurationError(f"settings.{NAME} has no {', '.join(strange)}")
        return cls(cast("Mapping[str, Any]", given))

    def integration(self) -> Integration:
        """Return the integration. Raises ``ConfigurationError`` that names what is missing or wrong."""
        for name in REQUIRED:
            if not self.value(name):
                raise ConfigurationError(
                    f"set the environment variable {ENVIRONMENT[name]}, or {name} in settings.{NAME} "
                    "(see the integration's page in amoCRM)"
                )
        return Integration(**self.some(INTEGRATION))

    def service(self) -> dict[str, Any]:
        """Return the service's own arguments."""
        return self.some(SERVICE)

    def store(self) -> dict[str, Any]:
        """Return the store's arguments, but for the cipher."""
        return self.some(_STORE)

    def cipher(self) -> TokenCipher | None:
        """Return what encrypts the tokens. Raises ``ConfigurationError`` for keys that are none."""
        if self.given.get("CIPHER") is not None:
            cipher: TokenCipher = self.called("CIPHER")
            return cipher
        return FernetCipher(self.given["ENCRYPTION_KEYS"]) if self.given.get("ENCRYPTION_KEYS") else None

    def http_client(self) -> Any:
        """Return the HTTP client that the site's ``HTTP_CLIENT`` makes, or ``None``."""
        return None if self.given.get("HTTP_CLIENT") is None else self.called("HTTP_CLIENT")

    def called(self, name: str) -> Any:
        """Return what the callable, or the class, that the setting names returns."""
        return self.callable(name)()

    def callable(self, name: str) -> "Callable[..., Any]":
        """Return the setting's callable, which may be named by its dotted path."""
        value = self.given[name]
        try:
            found = import_string(value) if isinstance(value, str) else value
        except ImportError as error:
            raise ConfigurationError(f"settings.{NAME}[{name!r}] cannot be imported: {error}") from None
        if not callable(found):
            raise ConfigurationError(f"settings.{NAME}[{name!r}] must be a callable or its dotted path")
        return found  # type: ignore[no-any-return]

    def value(self, name: str) -> Any:
        """Return the setting, from the environment where the site leaves it out, else ``None``."""
        if self.given.get(name) not in (None, ""):
            return self.given[name]
        return os.environ.get(ENVIRONMENT.get(name, ""), "").strip() or None

    def some(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Return those of the settings that have a value, as arguments."""
        return {name.lower(): self.value(name) for name in names if self.value(name) is not None}


def unknown(given: Mapping[str, Any]) -> list[str]:
    """Return the names that mean nothing, with what may have been meant."""
    return [_named(str(name)) for name in given if name not in KEYS]


def _named(unknown: str) -> str:
    near = get_close_matches(unknown.upper(), KEYS, 1)
    return f"{unknown!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
