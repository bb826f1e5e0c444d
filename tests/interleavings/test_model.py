"""The light model of amoCRM answers as the fake does that is shipped."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amocrm_userauth.testing import FakeAmoCRM
from tests.interleavings.amocrm import API_HOST, CLIENT_ID, REDIRECT, SECRET, AmoCRM

_START = datetime(2026, 1, 1, tzinfo=UTC)


class Both:
    """One history against both; every answer must say the same."""

    def __init__(self, fake: FakeAmoCRM, http: httpx.Client, rotation: str, lenient_until: str, user: str) -> None:
        self.fake = fake
        self.http = http
        self.model = AmoCRM(rotation, lenient_until=lenient_until, lookup=True)
        self.user = user
        self.names = itertools.count()
        self.pairs: list[tuple[Any, Any]] = []
        self.codes: list[tuple[str, str]] = []
        self.old_host = fake_host = f"{user}.amocrm.ru"
        self.model.hosts[user] = fake_host

    def authorize(self) -> None:
        code = self.fake.authorize(self.user, self.model.host(self.user).partition(".")[0])
        known = f"code-{len(self.codes)}"
        self.model.codes[known] = self.user
        self.codes.append((code, known))

    def exchange(self, which: int) -> None:
        if not self.codes:
            return
        code, known = self.codes[which % len(self.codes)]
        reply, pair = self.model.exchange(known, self.model.host(self.user), f"n{next(self.names)}", 0)
        self._same(self._post("authorization_code", code=code), reply, pair)

    def refresh(self, which: int, *, at_old_host: bool = False) -> None:
        if not self.pairs:
            return
        real, ours = self.pairs[which % len(self.pairs)]
        host = self.old_host if at_old_host else self.model.host(self.user)
        reply, pair = self.model.refresh(ours.refresh, host, f"n{next(self.names)}", 0)
        self._same(self._post("refresh_token", host, refresh_token=real["refresh_token"]), reply, pair)

    def look_up(self, which: int) -> None:
        if not self.pairs:
            return
        real, ours = self.pairs[which % len(self.pairs)]
        headers = {"x-refresh-token": real["refresh_token"]}
        answer = self.http.get(f"https://{API_HOST}/oauth2/account/current/subdomain", headers=headers)
        reply = self.model.look_up(ours.refresh)
        assert answer.status_code == reply.status
        for name in ("domain", "hint"):
            assert answer.json().get(name) == json.loads(reply.body).get(name)

    def use(self, which: int) -> None:
        if not self.pairs:
            return
        real, ours = self.pairs[which % len(self.pairs)]
        headers = {"authorization": f"Bearer {real['access_token']}"}
        answer = self.http.get(f"https://{self.model.host(self.user)}/api/v4/account", headers=headers)
        assert (answer.status_code == 200) is self.model.accepts(ours.access, 0)

    def move(self) -> None:
        host = self.fake.rename_account(self.user, f"{self.user}-{next(self.names)}")
        self.model.hosts[self.user] = host

    def _post(self, grant_type: str, host: str = "", **more: str) -> httpx.Response:
        fields = {"client_id": CLIENT_ID, "client_secret": SECRET, "redirect_uri": REDIRECT, "grant_type": grant_type}
        return self.http.post(f"https://{host or self.model.host(self.user)}/oauth2/access_token", json=fields | more)

    def _same(self, answer: httpx.Response, reply: Any, pair: Any) -> None:
        body = json.loads(reply.body)
        assert (answer.status_code, answer.json().get("hint")) == (reply.status, body.get("hint"))
        if pair is not None:
            assert answer.json().keys() == body.keys()
            self.pairs.append((answer.json(), pair))
        for real, ours in self.pairs:
            assert self.fake.accepts(real["refresh_token"]) == (ours.state == "alive")
            assert self.fake.accepts_access(real["access_token"]) is not ours.access_dead


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["refresh", "refresh", "look_up", "use", "exchange", "authorize", "old", "move"]),
        st.integers(0, 5),
    ),
    min_size=5,
    max_size=14,
)


@pytest.mark.parametrize(
    ("rotation", "lenient_until"),
    [("strict", "refresh"), ("lenient", "refresh"), ("lenient", "access"), ("family", "refresh")],
)
def test_the_model_answers_as_the_fake_does(rotation: Any, lenient_until: Any) -> None:
    """Random histories of refreshes, repeats, look-ups, API calls, new grants and moves, in every reading."""
    users = itertools.count()
    options: dict[str, Any] = {"rate_limit": None, "server_time": False, "lenient_until": lenient_until}
    with FakeAmoCRM(rotation, clock=lambda: _START + timedelta(seconds=1), **options) as fake:
        fake.integration(client_id=CLIENT_ID, client_secret=SECRET, redirect_uri=REDIRECT)
        with fake.http_client() as http:

            @settings(max_examples=40, deadline=None, derandomize=True, database=None)
            @given(_STEPS)
            def histories(steps: list[tuple[str, int]]) -> None:
                both = Both(fake, http, rotation, lenient_until, f"user{next(users)}")
                both.authorize()
                both.exchange(0)
                for name, which in steps:
                    if name in {"authorize", "move"}:
                        getattr(both, name)()
                    elif name == "old":
                        both.refresh(which, at_old_host=True)
                    else:
                        getattr(both, name)(which)

            histories()
