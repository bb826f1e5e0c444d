"""A fake amoCRM on a loopback socket: it refuses what amoCRM refuses, and fails when it is told to."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Self, overload

from amocrm_userauth._core.hosts import DEFAULT_SUFFIXES
from amocrm_userauth._core.integration import Integration
from amocrm_userauth.testing._fake import clients
from amocrm_userauth.testing._fake.asgi import ASGIApp
from amocrm_userauth.testing._fake.books import LedgerEntry, LoggedRequest, Presentation
from amocrm_userauth.testing._fake.clients import (
    async_http_client,
    async_http_transport,
    http_client,
    http_transport,
)
from amocrm_userauth.testing._fake.control import Remote
from amocrm_userauth.testing._fake.handle import Handle, Hold, IssuedPair
from amocrm_userauth.testing._fake.process import Process
from amocrm_userauth.testing._fake.server import Server
from amocrm_userauth.testing._fake.settings import Settings
from amocrm_userauth.testing._fake.tokens import fingerprint
from amocrm_userauth.testing._fake.world import World

if TYPE_CHECKING:
    import httpx
    import httpx2

__all__ = [
    "FakeAmoCRM",
    "Hold",
    "IssuedPair",
    "LedgerEntry",
    "LoggedRequest",
    "Presentation",
    "async_http_client",
    "async_http_transport",
    "fingerprint",
    "http_client",
    "http_transport",
]

_CLIENT_ID = "5e0ec2b1-0000-4000-8000-00000000e7a1"
_CLIENT_SECRET = "example-client-secret-of-the-fake-amocrm"
_REDIRECT_URI = "https://backend.example/api/amo-crm/callback"


class FakeAmoCRM(Handle):
    """A whole amoCRM for tests, served on the loopback interface while the ``with`` block runs.

    ::

        with FakeAmoCRM() as fake, fake.http_client() as http:
            auth = UserAuth(fake.integration(), MemoryTokenStore(), http=http)
            request = auth.begin("42")
            auth.connect("42", code=fake.authorize(user="anna"), state=request.state, referer=fake.host("anna"))

    Args:
        rotation: how a refresh token ends. ``strict``: it works once. ``lenient``: it works until the pair that it
            bought is used, and a repeat kills the pair bought before. ``family``: it works once, and presenting it
            again ends the whole grant.
        process: serve from a process of its own instead of a thread.
        port: where to listen on 127.0.0.1; ``0``: any free port.
        clock: amoCRM's time, a callable that returns aware datetimes; real time by default. Not with ``process``.
        lenient_until: what counts as use of the new pair in the lenient reading: its refresh token only, or its
            access token as well.
        status_style: the status of refusals of a refresh token; both are known.
        client_mismatch: ``hint``: today's refusals of a wrong id, secret or redirect URI; ``2020``: the old ones.
        unknown_host: the status of a host that is no account's (any more).
        rate_limit: API calls that an integration may make in a second of real time; ``None``: any number.
        rate_limit_tokens: count token calls too.
        access_lifetime: seconds.
        refresh_lifetime: seconds.
        code_lifetime: seconds.
        server_time: put ``server_time`` into token answers.
        without_claims: claims to leave out of access tokens, such as ``("api_domain",)``.
        lookup: serve the look-up of an account's address by refresh token.
        new_grant_kills_old: a user who authorizes again loses the earlier grant.
        refresh_kills_access: a refresh ends the access token of the spent pair.

    """

    def __init__(
        self,
        rotation: Literal["strict", "lenient", "family"] = "strict",
        *,
        process: bool = False,
        port: int = 0,
        clock: Callable[[], datetime] | None = None,
        lenient_until: Literal["refresh", "access"] = "refresh",
        status_style: Literal[400, 401] = 401,
        client_mismatch: Literal["hint", "2020"] = "hint",
        unknown_host: Literal[401, 404] = 404,
        rate_limit: int | None = 7,
        rate_limit_tokens: bool = False,
        access_lifetime: int = 86_400,
        refresh_lifetime: int = 90 * 86_400,
        code_lifetime: int = 1_200,
        server_time: bool = True,
        without_claims: tuple[str, ...] = (),
        lookup: bool = True,
        new_grant_kills_old: bool = False,
        refresh_kills_access: bool = False,
    ) -> None:
        """Choose how amoCRM behaves; nothing is started yet."""
        if process and clock is not None:
            msg = "a fake in a process of its own cannot use a clock of this one; use advance()"
            raise ValueError(msg)
        self._process = process
        self._clock = clock
        self._stop: Callable[[], None] | None = None
        self._attached = False
        self._settings = Settings(
            port=port,
            rotation=rotation,
            lenient_until=lenient_until,
            status_style=status_style,
            client_mismatch=client_mismatch,
            unknown_host=unknown_host,
            rate_limit=rate_limit,
            rate_limit_tokens=rate_limit_tokens,
            access_lifetime=access_lifetime,
            refresh_lifetime=refresh_lifetime,
            code_lifetime=code_lifetime,
            server_time=server_time,
            without_claims=without_claims,
            lookup=lookup,
            new_grant_kills_old=new_grant_kills_old,
            refresh_kills_access=refresh_kills_access,
        )

    @classmethod
    def attach(cls, control_url: str) -> Self:
        """Return a handle on a fake that runs elsewhere on this machine, by its :attr:`control_url`.

        It has every verb and book; :meth:`stop` leaves the fake running.
        """
        attached = cls()
        attached._backend = Remote(control_url)
        attached._attached = True
        return attached

    def start(self) -> Self:
        """Start serving; the ``with`` block does it."""
        if self._stop is not None:
            msg = "this fake amoCRM is running already"
            raise RuntimeError(msg)
        if self._process:
            child = Process(self._settings)
            self._backend, self._stop = child.remote, child.stop
        else:
            server = Server(World(self._settings, self._clock))
            self._backend, self._stop = server, server.stop
        return self

    def stop(self) -> None:
        """Stop serving: every connection, socket, thread and process of this fake is gone when it returns."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    def __enter__(self) -> Self:
        """Start serving, unless this is a handle on a fake that runs elsewhere."""
        return self if self._attached or self._stop is not None else self.start()

    def __exit__(self, *exc_info: object) -> None:
        """Stop serving."""
        self.stop()

    @property
    def url(self) -> str:
        """The address of the fake, ``http://127.0.0.1:<port>``; hand it to :func:`http_client` in other processes."""
        return self._backend.url

    @property
    def control_url(self) -> str:
        """The address of the control port; hand it to :meth:`attach` in other processes."""
        return self._backend.control_url

    @property
    def app(self) -> ASGIApp:
        """The fake as an ASGI application, for ``httpx.ASGITransport`` or a server of your own.

        The ``Host`` header says which account is meant. Only for a fake that runs in this process.
        """
        if not isinstance(self._backend, Server):
            msg = "only a fake that runs in this process is at hand as an ASGI application; use its url"
            raise TypeError(msg)
        return self._backend.app

    def integration(
        self,
        *,
        client_id: str = _CLIENT_ID,
        client_secret: str = _CLIENT_SECRET,
        redirect_uri: str = _REDIRECT_URI,
        account_domain: str = "",
        account_id: str = "",
        brand: Literal["amocrm", "kommo"] = "amocrm",
        authorize_url: str | None = None,
        mode: Literal["popup", "post_message"] | None = None,
        host_suffixes: tuple[str, ...] = DEFAULT_SUFFIXES,
        only_this_account: bool = False,
        one_user_per_login: bool = False,
    ) -> Integration:
        """Register an integration at the fake and return its settings; the consent page is the fake's.

        The arguments are those of :class:`amocrm_userauth.Integration`. A second call with the same ``client_id``
        replaces the first, as regenerating the secret does. To present something wrong, change the returned value
        with ``dataclasses.replace``: amoCRM knows nothing of that.
        """
        made = Integration(
            client_id,
            client_secret,
            redirect_uri,
            account_domain=account_domain,
            account_id=account_id,
            brand=brand,
            authorize_url=authorize_url or f"{self.url}/oauth",
            mode=mode,
            host_suffixes=host_suffixes,
            only_this_account=only_this_account,
            one_user_per_login=one_user_per_login,
        )
        known = {"client_id": client_id, "client_secret": client_secret, "redirect_uri": redirect_uri}
        self._run("register", **known, suffix="amocrm.ru" if brand == "amocrm" else "kommo.com")
        return made

    def authorize(
        self, user: str = "anna", account: str = "example", state: str | None = None, *, client_id: str | None = None
    ) -> str:
        """Let ``user`` allow the access to ``account`` (a subdomain, or a whole host) and return the code."""
        return self.callback(user, account, state, client_id=client_id)["code"]

    def callback(
        self,
        user: str = "anna",
        account: str = "example",
        state: str | None = None,
        *,
        allow: bool = True,
        client_id: str | None = None,
    ) -> dict[str, str]:
        """Let ``user`` decide, and return the parameters with which amoCRM sends the browser to the redirect URI.

        Without ``client_id`` it is the integration that was registered last.
        """
        if not self._run("is_registered"):
            self.integration()
        given = {"user": user, "account": account, "state": state, "client_id": client_id, "allow": allow}
        return dict(self._run("consent", **given))

    def disabled_hook(self, user: str) -> dict[str, str]:
        """Return the parameters of amoCRM's hook "integration switched off" for the user's account, signed."""
        return dict(self._run("hook", user=user))

    def host(self, user: str) -> str:
        """Return the host of the user's account now, such as ``example.amocrm.ru``."""
        return str(self._run("account", user=user)["host"])

    def account_id(self, user: str) -> int:
        """Return the number of the user's account."""
        return int(self._run("account", user=user)["id"])

    def user_id(self, user: str) -> int:
        """Return the user's number at amoCRM."""
        return int(self._run("user_id", user=user))

    @overload
    def http_client(self, *, library: Literal["httpx"] = "httpx", timeout: float | None = ...) -> "httpx.Client": ...
    @overload
    def http_client(self, *, library: Literal["httpx2"], timeout: float | None = ...) -> "httpx2.Client": ...
    def http_client(
        self, *, library: Literal["httpx", "httpx2"] = "httpx", timeout: float | None = 30
    ) -> "httpx.Client | httpx2.Client":
        """Return a client whose requests to amoCRM end here; see :func:`amocrm_userauth.testing.http_client`."""
        if library == "httpx":
            return clients.http_client(self.url, timeout=timeout)
        return clients.http_client(self.url, library="httpx2", timeout=timeout)

    @overload
    def async_http_client(
        self, *, library: Literal["httpx"] = "httpx", timeout: float | None = ...
    ) -> "httpx.AsyncClient": ...
    @overload
    def async_http_client(self, *, library: Literal["httpx2"], timeout: float | None = ...) -> "httpx2.AsyncClient": ...
    def async_http_client(
        self, *, library: Literal["httpx", "httpx2"] = "httpx", timeout: float | None = 30
    ) -> "httpx.AsyncClient | httpx2.AsyncClient":
        """Return the async twin of :meth:`http_client`. Close it on the event loop that used it."""
        if library == "httpx":
            return clients.async_http_client(self.url, timeout=timeout)
        return clients.async_http_client(self.url, library="httpx2", timeout=timeout)
