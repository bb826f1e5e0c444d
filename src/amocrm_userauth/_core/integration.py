"""The integration: what amoCRM calls the application that asks for access."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NoReturn, Self
from urllib.parse import urlencode, urlsplit

from amocrm_userauth._core.hosts import DEFAULT_SUFFIXES, trusted_host
from amocrm_userauth.errors import ConfigurationError, UntrustedHost

__all__ = ["Integration"]

_AUTHORIZE = {"amocrm": "https://www.amocrm.ru/oauth", "kommo": "https://www.kommo.com/oauth"}
_MODES = (None, "popup", "post_message")


@dataclass(frozen=True, slots=True, init=False)
class Integration:
    """The settings of one integration, as its page in amoCRM shows them.

    Args:
        client_id: the integration id (a UUID).
        client_secret: its secret key; never in the ``repr``.
        redirect_uri: exactly as registered, to the last slash: amoCRM compares it as text.
        account_domain: the host that is used where a callback names none, such as ``example.amocrm.ru``.
        account_id: the account's number; what ``only_this_account`` compares with.
        brand: ``"amocrm"`` (amocrm.ru) or ``"kommo"`` (kommo.com); they are separate platforms.
        authorize_url: the consent page, if it is not the brand's.
        mode: ``"popup"``, ``"post_message"`` or ``None``: where the consent window redirects to.
        host_suffixes: the domains whose subdomains are trusted.
        only_this_account: refuse every other amoCRM account.
        one_user_per_login: refuse an amoCRM login that another user of the application has connected.

    Raises:
        ConfigurationError: a setting is missing or cannot be right; the message names it.

    """

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    account_domain: str
    account_id: str
    brand: Literal["amocrm", "kommo"]
    authorize_url: str | None
    mode: Literal["popup", "post_message"] | None
    host_suffixes: tuple[str, ...]
    only_this_account: bool
    one_user_per_login: bool

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        redirect_uri: str,
        *,
        account_domain: str = "",
        account_id: str = "",
        brand: Literal["amocrm", "kommo"] = "amocrm",
        authorize_url: str | None = None,
        mode: Literal["popup", "post_message"] | None = None,
        host_suffixes: tuple[str, ...] = DEFAULT_SUFFIXES,
        only_this_account: bool = False,
        one_user_per_login: bool = False,
    ) -> None:
        # by hand, so that no frame holds the secret as a local variable when a check fails
        store = partial(object.__setattr__, self)
        store("client_secret", client_secret)
        del client_secret
        store("client_id", client_id)
        store("redirect_uri", redirect_uri)
        store("account_id", str(account_id))
        store("brand", brand)
        store("authorize_url", authorize_url)
        store("mode", mode)
        store("host_suffixes", tuple(suffix.lower().removeprefix("*").lstrip(".") for suffix in host_suffixes))
        store("only_this_account", only_this_account)
        store("one_user_per_login", one_user_per_login)
        store("account_domain", account_domain)
        self._check()
        store("account_domain", self._own_domain() if account_domain else "")

    def _check(self) -> None:
        for name in ("client_id", "client_secret", "redirect_uri"):
            if not _is_text(getattr(self, name)):
                _refuse(name, "must be printable text without surrounding spaces")
        _require_url("redirect_uri", self.redirect_uri)
        self._check_choices()

    def _check_choices(self) -> None:
        if self.brand not in _AUTHORIZE:
            _refuse("brand", "must be 'amocrm' or 'kommo'")
        if self.mode not in _MODES:
            _refuse("mode", "must be 'popup', 'post_message' or None")
        if self.authorize_url is not None:
            _require_url("authorize_url", self.authorize_url)
        if not all("." in suffix for suffix in self.host_suffixes) or not self.host_suffixes:
            _refuse("host_suffixes", "must name domains such as 'amocrm.ru'")
        if self.only_this_account and not self.account_id.isdecimal():
            _refuse("account_id", "must be the account's number when only_this_account is set")

    def _own_domain(self) -> str:
        host = ""
        with suppress(UntrustedHost):
            host = trusted_host(self.account_domain, self.host_suffixes)
        if not host:
            _refuse("account_domain", "must be a host under host_suffixes, such as 'example.amocrm.ru'")
        return host

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read ``AMO_CLIENT_ID``, ``AMO_CLIENT_SECRET``, ``AMO_REDIRECT_URI``, ``AMO_DOMAIN``, ``AMO_ACCOUNT_ID``.

        The last two may be absent. Raises ``ConfigurationError`` that names the variable otherwise.
        """
        required = ("AMO_CLIENT_ID", "AMO_CLIENT_SECRET", "AMO_REDIRECT_URI")
        env = _Settings(os.environ if environ is None else environ)
        del environ
        for name in required:
            if not env.read(name):
                msg = f"set the environment variable {name} (see the integration's page in amoCRM)"
                raise ConfigurationError(msg)
        return cls(
            *map(env.read, required), account_domain=env.read("AMO_DOMAIN"), account_id=env.read("AMO_ACCOUNT_ID")
        )

    def url_for(self, state: str) -> str:
        """Return the consent page's address for one ``state``."""
        page = self.authorize_url or _AUTHORIZE[self.brand]
        query = {"client_id": self.client_id, "state": state}
        if self.mode is not None:
            query["mode"] = self.mode
        return f"{page}{'&' if urlsplit(page).query else '?'}{urlencode(query)}"

    @property
    def platform_host(self) -> str:
        """The brand's common host, which knows every account's current address."""
        return "www.amocrm.ru" if self.brand == "amocrm" else "www.kommo.com"


class _Settings:
    """The environment, not shown by a rendered traceback."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def read(self, name: str) -> str:
        return self._environ.get(name, "").strip()


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value == value.strip() and value.isprintable()


def _require_url(name: str, value: object) -> None:
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname or parts.fragment:
        _refuse(name, "must be an http(s) address without a fragment")


def _refuse(name: str, rule: str) -> NoReturn:
    msg = f"Integration.{name} {rule}"
    raise ConfigurationError(msg)
