"""Calls to amoCRM as a user: who signs what, and what happens at a 401."""

import io
import logging
import traceback

import anyio
import pytest

from amocrm_userauth import errors
from tests.http_auth.worlds import SyncWorld, World

_HOST = "example.amocrm.ru"


def _current(world: World, user: str = "anna") -> str:
    return world.fake.alive_pair(user).access_token


def test_a_call_is_signed_as_the_user(world: World) -> None:
    """A relative address goes to the user's account with the user's token."""
    with world.client() as client:
        response = world.get(client)
    assert response.json()["current_user_id"] == world.fake.user_id("anna")
    assert str(response.request.url) == f"https://{_HOST}/api/v4/account"
    assert response.request.headers["Host"] == _HOST
    assert [sent.authorization for sent in world.sent] == [f"Bearer {_current(world)}"]


def test_each_user_has_their_own_token(world: World) -> None:
    """Two users' clients never mix."""
    world.connect("boris", "other")
    with world.client("boris") as boris, world.client("anna") as anna:
        assert world.get(boris).json()["subdomain"] == "other"
        assert world.get(anna).json()["subdomain"] == "example"


def test_the_shared_api_host_is_signed_too(world: World) -> None:
    """The host that the token names as its API host belongs to the user."""
    api_domain = world.run(lambda: world.auth.hosts("anna"))[1]
    with world.client() as client:
        assert world.get(client, f"https://{api_domain}/api/v4/account").status_code == 200


def test_http_auth_works_with_a_client_of_ones_own(world: World) -> None:
    """``http_auth`` alone signs absolute addresses of any client."""
    auth = world.adapter.http_auth(world.auth, "anna")
    world.connect("boris", "other")
    with world.client("boris") as client:
        assert world.get(client, f"https://{_HOST}/api/v4/account", auth=auth).status_code == 200


def test_a_header_of_the_callers_is_replaced(world: World) -> None:
    """There is one ``Authorization``, and it is the user's."""
    with world.client() as client:
        assert world.get(client, headers={"Authorization": "Bearer example-other"}).status_code == 200
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    "url",
    [
        f"http://{_HOST}/api/v4/account",
        f"https://{_HOST}:8443/api/v4/account",
        f"https://{_HOST}./api/v4/account",
        f"https://evil-{_HOST}/api/v4/account",
        f"https://{_HOST}.evil.example/api/v4/account",
        "https://other.amocrm.ru/api/v4/account",
        "https://www.amocrm.ru/api/v4/account",
        "https://amocrm.ru/api/v4/account",
        "https://evil.example/api/v4/account",
        f"https://evil.example#@{_HOST}/",
        f"https://{_HOST}@evil.example/",
        "https://ехаmple.amocrm.ru/api/v4/account",
        "https://127.0.0.1/api/v4/account",
        "https://[::1]/api/v4/account",
    ],
)
def test_nothing_else_is_signed(world: World, url: str) -> None:
    """Another scheme, port or host is refused before anything is sent."""
    with world.client() as client, pytest.raises(errors.UntrustedHost) as refused:
        world.get(client, url)
    assert refused.value.user_id == "anna"
    assert world.sent == []


@pytest.mark.parametrize("url", [f"https://{_HOST}:443/api/v4/account", f"https://{_HOST.upper()}/api/v4/account"])
def test_spellings_of_the_users_host_are_signed(world: World, url: str) -> None:
    """The usual port and capital letters change nothing."""
    with world.client() as client:
        assert world.get(client, url).status_code == 200


def test_a_redirect_to_another_host_is_not_signed(world: World) -> None:
    """The token stays behind, and a 401 from over there is not taken for one of amoCRM's."""
    world.script[f"{_HOST}/away"] = lambda _: world.library.Response(
        302, headers={"Location": "https://evil.example/x"}
    )
    world.script["evil.example/x"] = lambda _: world.library.Response(401)
    with world.client(follow_redirects=True) as client:
        assert world.get(client, "/away").status_code == 401
    assert [(sent.url, bool(sent.authorization)) for sent in world.sent] == [
        (f"https://{_HOST}/away", True),
        ("https://evil.example/x", False),
    ]
    assert world.refreshes() == 0


def test_a_redirect_to_http_is_not_signed(world: World) -> None:
    """The token does not travel in the clear."""
    world.script[f"{_HOST}/down"] = lambda _: world.library.Response(302, headers={"Location": f"http://{_HOST}/x"})
    world.script[f"{_HOST}/x"] = lambda _: world.library.Response(200)
    with world.client(follow_redirects=True) as client:
        world.get(client, "/down")
    assert [bool(sent.authorization) for sent in world.sent] == [True, False]


def test_a_redirect_within_the_account_is_signed(world: World) -> None:
    """A move within the same host keeps the token."""
    there = {"Location": "/api/v4/account"}
    world.script[f"{_HOST}/old"] = lambda _: world.library.Response(302, headers=there)
    with world.client(follow_redirects=True) as client:
        assert world.get(client, "/old").status_code == 200


def test_a_401_is_mended(world: World) -> None:
    """After a 401 one refresh gives another token, and the call is made once more."""
    world.fake.expire("anna")
    with world.client() as client:
        assert world.get(client).status_code == 200
    assert world.refreshes() == 1
    assert len(world.sent) == 2
    assert world.sent[1].authorization == f"Bearer {_current(world)}"


def test_many_401s_share_one_refresh(world: World) -> None:
    """Twenty calls that get a 401 at once lead to one refresh and twenty answers."""
    world.fake.expire("anna")
    with world.client() as client:
        replies = world.together(lambda: client.get("/api/v4/account"), 20)
    assert [reply.status_code for reply in replies] == [200] * 20
    assert world.refreshes() == 1


def test_a_401_that_a_new_token_does_not_mend_is_handed_on(world: World) -> None:
    """A deactivated user's 401 is the caller's after one retry, and does not spend tokens in a loop."""
    world.fake.deactivate("anna")
    with world.client() as client:
        assert world.get(client).status_code == 401
        assert len(world.sent) == 2
        assert world.get(client).status_code == 401
    assert len(world.sent) == 3
    assert world.refreshes() == 1


def test_other_answers_are_handed_on(world: World) -> None:
    """A 403 or 500 is nothing that a token mends."""
    with world.client() as client:
        for status in (400, 403, 404, 429, 500):
            world.fake.fail_next("anna", status=status, on="api")
            assert world.get(client).status_code == status
    assert len(world.sent) == 5
    assert world.refreshes() == 0


def test_a_body_in_memory_is_sent_again(world: World) -> None:
    """JSON and bytes go out whole in the second try."""
    world.fake.expire("anna")
    with world.client() as client:
        response = world.run(lambda: client.post("/api/v4/leads", json=[{"name": "Example"}]))
    assert response.status_code == 200
    assert len(world.sent) == 2
    assert world.sent[0].body == world.sent[1].body != b""


def test_a_body_that_can_be_read_once_is_not_sent_twice(world: World) -> None:
    """The caller gets the 401; the next call has the new token."""
    world.fake.expire("anna")
    with world.client() as client:
        response = world.run(lambda: client.post("/api/v4/leads", content=world.body(b"[{}", b"]")))
        assert response.status_code == 401
        assert len(world.sent) == 1
        assert world.refreshes() == 1
        assert world.get(client).status_code == 200
    assert world.refreshes() == 1


def test_an_open_file_is_not_sent_twice(world: World) -> None:
    """A file that was read to its end would be sent as nothing."""
    if not isinstance(world, SyncWorld):
        pytest.skip("httpx refuses files in asynchronous requests")
    world.fake.expire("anna")
    with world.client() as client:
        response = world.run(lambda: client.post("/api/v4/leads", content=io.BytesIO(b"[{}]")))
    assert response.status_code == 401
    assert [sent.body for sent in world.sent] == [b"[{}]"]


def test_a_refused_grant_reaches_the_caller(world: World) -> None:
    """If the refresh after the 401 is refused, the caller hears that the user must connect again."""
    world.fake.revoke("anna")
    with world.client() as client, pytest.raises(errors.GrantRevoked):
        world.get(client)
    assert len(world.sent) == 1


def test_amocrm_down_reaches_the_caller_before_anything_is_sent(world: World) -> None:
    """If the refresh after the 401 fails for now, the caller may try again later."""
    world.fake.expire("anna")
    world.fake.fail_next(None, status=503)
    with world.client() as client, pytest.raises(errors.AmoCRMUnavailable):
        world.get(client)


def test_a_user_without_a_connection_is_told_so(world: World) -> None:
    """Nothing is sent for somebody who is not connected."""
    with pytest.raises(errors.NotConnected), world.client("nobody") as client:
        world.get(client)
    assert world.sent == []


@pytest.mark.parametrize("user", ["", None])
def test_an_anonymous_user_gets_nobodys_token(world: World, user: str | None) -> None:
    """Empty ids are refused."""
    with pytest.raises(ValueError, match="user id"), world.client(user) as client:
        world.get(client)
    assert world.sent == []


def test_a_moved_account_is_followed(world: World) -> None:
    """A client that was made before the account moved goes on with relative addresses."""
    with world.client() as client:
        assert world.get(client).status_code == 200
        new = world.fake.rename_account("anna", "moved")
        world.fake.expire("anna")
        world.run(lambda: world.auth.refresh("anna"))
        response = world.get(client)
    assert response.status_code == 200
    assert response.request.url.host == new


def test_a_move_that_the_refresh_discovers_is_followed_at_once(world: World) -> None:
    """The second try goes to where the account is by then."""
    with world.client() as client:
        world.script[f"{_HOST}/api/v4/account"] = lambda _: world.library.Response(401)
        new = world.fake.rename_account("anna", "moved")
        response = world.get(client)
    assert response.status_code == 200
    assert response.request.url.host == new


def test_a_reconnected_user_is_followed(world: World) -> None:
    """After a connection to another account relative addresses go there."""
    with world.client() as client:
        world.connect("anna", "second")
        assert world.get(client).json()["subdomain"] == "second"


def test_the_connection_is_free_during_the_refresh(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 401 is read to its end before another token is asked for: the refresh may need that connection."""
    seen: list[str] = []
    access_token = world.auth.access_token

    def asked(user: str, *, rejected: str | None = None) -> object:
        seen.append("first token" if rejected is None else "another token")
        return access_token(user, rejected=rejected)

    monkeypatch.setattr(world.auth, "access_token", asked)
    world.script[f"{_HOST}/slow"] = lambda _: world.library.Response(401, stream=_closing(world, seen))
    with world.client() as client:
        world.get(client, "/slow")
    assert seen[:3] == ["first token", "read to its end", "another token"]


def _closing(world: World, seen: list[str]) -> object:
    class Body(world.library.SyncByteStream, world.library.AsyncByteStream):
        def __iter__(self):
            yield b"no"
            seen.append("read to its end")

        async def __aiter__(self):
            yield b"no"
            seen.append("read to its end")

    return Body()


def test_a_streamed_answer_works(world: World) -> None:
    """The auth reads no body but that of a 401."""
    world.fake.expire("anna")
    with world.client() as client:
        request = client.build_request("GET", "/api/v4/account")
        response = world.run(lambda: client.send(request, stream=True))
        assert response.status_code == 200
        assert not response.is_closed
        world.run(response.close if isinstance(world, SyncWorld) else response.aclose)


def test_the_wrong_client_is_refused(world: World) -> None:
    """An auth of one world in a client of the other says what to do, and sends nothing."""
    auth = world.adapter.http_auth(world.auth, "anna")
    request = world.library.Request("GET", f"https://{_HOST}/")
    flow = auth.async_auth_flow(request) if isinstance(world, SyncWorld) else auth.sync_auth_flow(request)
    step = (lambda: anyio.run(flow.__anext__)) if isinstance(world, SyncWorld) else (lambda: next(flow))
    with pytest.raises(TypeError, match="UserAuth"):
        step()


@pytest.mark.parametrize("option", ["auth", "base_url"])
def test_what_the_client_settles_itself_cannot_be_given(world: World, option: str) -> None:
    """``auth`` and ``base_url`` are the adapter's."""
    with pytest.raises(TypeError, match=option), world.client(**{option: None}):
        pass


def test_no_secret_is_shown(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Neither logs nor reprs nor tracebacks with local variables hold a token."""
    caplog.set_level(logging.DEBUG)
    world.fake.revoke("anna")
    with world.client() as client, pytest.raises(errors.GrantRevoked) as caught:
        world.get(client)
    rendered = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    shown = f"{''.join(rendered)}{caplog.text}{world.adapter.http_auth(world.auth, 'anna')!r}"
    assert "async_auth_flow" in shown or "sync_auth_flow" in shown
    for pair in world.fake.pairs("anna"):
        assert pair.access_token not in shown
        assert pair.refresh_token not in shown
