"""Deep links in FastAPI: which there can be, and when there is a callback."""

from typing import Any

import pytest

from amocrm_userauth import (
    AsyncMemoryTokenStore,
    AsyncUserAuth,
    UserAuth,
    errors,
)
from amocrm_userauth.fastapi import amocrm_router
from tests.contract.fastapi_apps import INTEGRATION, serving


@pytest.mark.parametrize(
    "link",
    [
        "foryouapp://amo-crm/callback",
        "foryouapp:amo",
        "com.example.app:/amo?x=1&y=2",
        "https://app.example/amo",
        "https://app.example/amo?x=%20",
        "http://localhost:3000/amo",
        "http://127.0.0.1/amo",
        "http://[::1]:8081/amo",
        "exp://192.168.1.2:8081/--/amo",
    ],
)
def test_deep_links(auth: UserAuth | AsyncUserAuth, link: str) -> None:
    """An app's own scheme, an https App Link, or this machine."""
    router = amocrm_router(auth, current_user=lambda: None, deep_link=link)
    assert "/callback" in {route.path for route in router.routes}


@pytest.mark.parametrize(
    "link",
    [
        "",
        "amo-crm/callback",
        "/callback",
        "//app.example/callback",
        "http://app.example/callback",
        "https:///callback",
        "https://[",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "foryouapp://amo\r\nX-Evil: 1",
        "foryouapp://amo crm",
        "foryouapp://амо",
        "foryouapp://amo#fragment",
        "foryouapp://amo?code=1",
        "https://app.example/?state",
        "foryouapp://amo?x=1&error=2",
    ],
)
def test_what_cannot_be_a_deep_link_is_refused_at_once(auth: UserAuth | AsyncUserAuth, link: str) -> None:
    """A wrong target is found at the start of the application, not by a user."""
    with pytest.raises(errors.ConfigurationError, match="deep_link"):
        amocrm_router(auth, current_user=lambda: None, deep_link=link)


def test_the_callback_can_be_left_out(auth: UserAuth | AsyncUserAuth) -> None:
    """There is none without a deep link, or where it is not wanted; it cannot be had without."""
    link = "foryouapp://amo"
    without = amocrm_router(auth, current_user=lambda: None)
    unwanted = amocrm_router(auth, current_user=lambda: None, deep_link=link, include_callback=False)
    wanted = amocrm_router(auth, current_user=lambda: None, deep_link=link, include_callback=True)
    assert [len(router.routes) for router in (without, unwanted, wanted)] == [4, 4, 5]
    with pytest.raises(errors.ConfigurationError, match="deep_link"):
        amocrm_router(auth, current_user=lambda: None, include_callback=True)


@pytest.mark.parametrize(
    ("link", "start"),
    [
        ("foryouapp://amo", "foryouapp://amo?error="),
        ("foryouapp://amo?", "foryouapp://amo?error="),
        ("foryouapp://amo?x=1", "foryouapp://amo?x=1&error="),
        ("foryouapp://amo?x=1&", "foryouapp://amo?x=1&error="),
    ],
)
def test_the_deep_links_own_query_is_kept(auth: Any, link: str, start: str) -> None:
    """The answer is added with one separator."""
    with serving(("", amocrm_router(auth, current_user=lambda: "anna", deep_link=link))) as client:
        state = client.get("/authorize-url").json()["data"]["state"]
        query = {"error": "access_denied", "state": state}
        reply = client.get("/callback", params=query, follow_redirects=False)
    assert reply.headers["location"].startswith(start)


def test_a_store_that_is_down_is_a_page_with_retry_after() -> None:
    """The browser's user is told to come back, with the error's status."""

    class Down(AsyncMemoryTokenStore):
        async def remember_code(self, **_: object) -> bool:
            raise errors.StoreUnavailable(retry_after=3)

    auth = AsyncUserAuth(INTEGRATION, Down())
    with serving(("", amocrm_router(auth, current_user=lambda: "anna", deep_link="app://x"))) as client:
        state = client.get("/authorize-url").json()["data"]["state"]
        query = {"code": "example", "state": state, "referer": "example.amocrm.ru"}
        reply = client.get("/callback", params=query, follow_redirects=False)
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "3"
    assert "store_unavailable" in reply.text
    assert "location" not in reply.headers
