"""The contract's application in Django, under WSGI and under ASGI."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Literal

import httpx
from anyio.from_thread import start_blocking_portal
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest
from django.test import override_settings

from amocrm_userauth import ConnectionStatus, UserAuth, UserToken
from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.django import RequestRefused, _service
from amocrm_userauth.testing import FakeAmoCRM
from tests.contract.backend import DEEP_LINK, Ask, Backend, Clock, Reply
from tests.django import kit

_HOST = "http://backend.example"
_AT_ONCE = 20
_USERS = ("anna", "boris")


def current_user(request: HttpRequest) -> object | None:
    """Stand in for the application's login."""
    name = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if name == "nobody":
        raise RequestRefused(403, "this user is locked", {"X-Why": "locked"})
    if name == "reauth":
        raise RequestRefused(401, "the session is over", {"WWW-Authenticate": 'Bearer realm="app"'})
    return kit.get_user_model().objects.filter(pk=kit.key(name)).first() if name else None


class DjangoBackend(Backend):
    """Runs the site in the server's stead."""

    def __init__(
        self,
        fake: FakeAmoCRM,
        clock: Clock,
        *,
        server: Literal["wsgi", "asgi"],
        mount: str,
        integration: dict[str, object],
        options: dict[str, object],
    ) -> None:
        self.fake, self.clock, self.mount = fake, clock, mount
        self._server = server
        self._integration = fake.integration(**integration)
        self._options = {"clock": clock, "leeway": 0, **options}

    @contextmanager
    def running(self) -> Iterator["DjangoBackend"]:
        """Give the running site with its users."""
        with ExitStack() as stack:
            stack.enter_context(kit.empty(kit.site()))
            for name in _USERS:
                kit.make_user(name)
            site = {"CURRENT_USER": current_user, "DEEP_LINK": DEEP_LINK}
            stack.enter_context(override_settings(AMOCRM_USERAUTH=site, ROOT_URLCONF="tests.contract.django_urls"))
            self._auth = stack.enter_context(self._service(stack))
            self._exchange = stack.enter_context(self._asgi() if self._server == "asgi" else self._wsgi())
            yield self

    @contextmanager
    def _service(self, stack: ExitStack) -> Iterator[UserAuth]:
        from amocrm_userauth.django import DjangoTokenStore

        # The site's own would live by the real clock.
        http = stack.enter_context(self.fake.http_client())
        store = DjangoTokenStore(cipher=FernetCipher([FernetCipher.generate_key()]))
        with UserAuth(self._integration, store, http=http, **self._options) as auth:
            _service._process.auth = auth
            yield auth
        _service.close()

    @contextmanager
    def _wsgi(self) -> Iterator[Callable[[tuple[Ask, ...]], list[Reply]]]:
        transport = httpx.WSGITransport(WSGIHandler(), raise_app_exceptions=False)
        with httpx.Client(transport=transport, base_url=_HOST) as client, ThreadPoolExecutor(_AT_ONCE) as pool:
            yield lambda asks: list(pool.map(lambda ask: _reply(client.send(self._request(client, ask))), asks))

    @contextmanager
    def _asgi(self) -> Iterator[Callable[[tuple[Ask, ...]], list[Reply]]]:
        transport = httpx.ASGITransport(ASGIHandler(), raise_app_exceptions=False)

        async def exchange(asks: tuple[Ask, ...]) -> list[Reply]:
            async with httpx.AsyncClient(transport=transport, base_url=_HOST) as client:
                sent = (client.send(self._request(client, ask)) for ask in asks)
                return [_reply(response) for response in await asyncio.gather(*sent)]

        with start_blocking_portal() as portal:
            yield lambda asks: portal.call(exchange, asks)

    def _request(self, client: httpx.Client | httpx.AsyncClient, ask: Ask) -> httpx.Request:
        url = httpx.URL(f"{self.mount}/{ask.path}", params=list(ask.query) or None)
        if ask.raw_query is not None:
            url = url.copy_with(query=ask.raw_query.encode())
        return client.build_request(ask.method, url, content=ask.body, headers=ask.all_headers)

    def send(self, *asks: Ask) -> list[Reply]:
        return self._exchange(asks)

    def row(self, user: str) -> UserToken | None:
        return self._auth.store.get(str(kit.key(user)))

    def access_token(self, user: str) -> str:
        return self._auth.access_token(str(kit.key(user)))

    def refresh(self, user: str) -> ConnectionStatus:
        return self._auth.refresh(str(kit.key(user)))


def _reply(response: httpx.Response) -> Reply:
    return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.text)
