"""A phone without a screen: it does over HTTP what the page does, and a browser's part on the way to amoCRM."""

from typing import Any, Self

import httpx

__all__ = ["Phone"]

_MOUNT = "/api/amo-crm"
_FOUND = 302


class Phone:
    """One user's phone. Call it in a ``with`` block."""

    def __init__(self, url: str) -> None:
        """Use the backend at ``url``."""
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=20)
        self._browser = httpx.Client(trust_env=False, timeout=20)

    def __enter__(self) -> Self:
        """Open the connections."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the connections."""
        self._http.close()
        self._browser.close()

    def log_in(self, user: str) -> Self:
        """Log in at the application."""
        answer = self.post("/api/login", {"user": user}).raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['session']}"
        return self

    def get(self, path: str) -> httpx.Response:
        """Ask the backend."""
        return self._http.get(path)

    def post(self, path: str, body: dict[str, str] | None = None) -> httpx.Response:
        """Send something to the backend."""
        return self._http.post(path, json=body or {})

    def status(self) -> dict[str, Any]:
        """Return the connection's status."""
        data: dict[str, Any] = self.get(f"{_MOUNT}/status").raise_for_status().json()["data"]
        return data

    def leads(self) -> list[str]:
        """Return the names of the user's leads."""
        return [lead["name"] for lead in self.get("/api/leads").raise_for_status().json()]

    def consent(self, *, user: str, allow: bool = True) -> dict[str, str]:
        """Open amoCRM's page, decide there as ``user``, and return what the deep link brings back."""
        url = self.get(f"{_MOUNT}/authorize-url").raise_for_status().json()["data"]["url"]
        self._browser.get(url).raise_for_status()
        asked = httpx.URL(url).params
        form = {
            "client_id": asked["client_id"],
            "state": asked["state"],
            "user": user,
            "account": "example",
            "decision": "allow" if allow else "deny",
        }
        back = self._browser.post(url.partition("?")[0], data=form)
        app = self._browser.get(back.headers["Location"])
        if app.status_code != _FOUND:
            app.raise_for_status()
        return dict(httpx.URL(app.headers["Location"]).params.multi_items())

    def exchange(self, brought: dict[str, str]) -> httpx.Response:
        """Post what the deep link brought."""
        return self.post(f"{_MOUNT}/exchange-code", brought)

    def connect(self, *, user: str) -> None:
        """Do the whole dance."""
        self.exchange(self.consent(user=user)).raise_for_status()

    def disconnect(self) -> None:
        """Forget the connection."""
        self.post(f"{_MOUNT}/disconnect").raise_for_status()
