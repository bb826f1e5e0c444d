"""A caller of the fake amoCRM that does by hand what the library will do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from amocrm_userauth.testing import FakeAmoCRM

HOST = "example.amocrm.ru"


class Caller:
    """Talks to one fake over its socket."""

    def __init__(self, fake: FakeAmoCRM, http: httpx.Client) -> None:
        self.fake = fake
        self.http = http
        self.integration = fake.integration()

    def fields(self, **more: str) -> dict[str, str]:
        """The fields of a token call, changed by ``more``."""
        mine = self.integration
        fixed = {
            "client_id": mine.client_id,
            "client_secret": mine.client_secret,
            "redirect_uri": mine.redirect_uri,
        }
        return {**fixed, **more}

    def post(self, *, host: str = HOST, **more: str) -> httpx.Response:
        return self.http.post(f"https://{host}/oauth2/access_token", json=self.fields(**more))

    def exchange(self, code: str, **more: str) -> httpx.Response:
        return self.post(**{"grant_type": "authorization_code", "code": code, **more})

    def refresh(self, token: str, **more: str) -> httpx.Response:
        return self.post(**{"grant_type": "refresh_token", "refresh_token": token, **more})

    def connect(self, user: str = "anna", account: str = "example") -> dict[str, Any]:
        """Authorize ``user`` and return their first pair."""
        params = self.fake.callback(user, account)
        return self.exchange(params["code"], host=params["referer"]).raise_for_status().json()

    def get(self, path: str, token: str, host: str = HOST) -> httpx.Response:
        return self.http.get(f"https://{host}{path}", headers={"authorization": f"Bearer {token}"})

    def account(self, token: str, host: str = HOST) -> httpx.Response:
        return self.get("/api/v4/account", token, host)

    def look_up(self, token: str | None, host: str = "api-b.amocrm.ru") -> httpx.Response:
        headers = {} if token is None else {"x-refresh-token": token}
        return self.http.get(f"https://{host}/oauth2/account/current/subdomain", headers=headers)


@contextmanager
def caller(**options: Any) -> Iterator[Caller]:
    """Start a fake with some options, and give a caller of it."""
    with FakeAmoCRM(**options) as fake, fake.http_client(timeout=10) as http:
        yield Caller(fake, http)


def problem(status: int, hint: str) -> dict[str, object]:
    """The token endpoint's refusal, word for word."""
    return {
        "hint": hint,
        "title": "Некорректный запрос",
        "type": "https://developers.amocrm.ru/v3/errors/OAuthProblemJson",
        "status": status,
        "detail": "В запросе отсутствует ряд параметров или параметры невалидны",
    }
