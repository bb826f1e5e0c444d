"""The answers of amoCRM, word for word as they were seen (see the fact sheet of the project for where)."""

import json
from dataclasses import dataclass
from urllib.parse import urlencode

__all__ = ["Ask", "Reply", "api_problem", "canned", "json_reply", "oauth_problem", "redirect", "url_with"]

_OAUTH_TYPE = "https://developers.amocrm.ru/v3/errors/OAuthProblemJson"
_NGINX = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
_REASONS = {
    403: "403 Forbidden",
    404: "404 Not Found",
    429: "429 Too Many Requests",
    500: "500 Internal Server Error",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}


@dataclass(slots=True)
class Ask:
    """One request as it came in. Header names are lower-case, ``host`` has no port."""

    method: str
    path: str
    query: dict[str, str]
    host: str
    headers: dict[str, str]
    body: bytes

    @property
    def bearer(self) -> str:
        """The access token of the request, or ``""``."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" else ""


@dataclass(slots=True)
class Reply:
    """One answer. ``hint`` repeats what an OAuth problem says, for the books."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    hint: str = ""


def json_reply(value: object, status: int = 200, content_type: str = "application/json", hint: str = "") -> Reply:
    """Return ``value`` as JSON."""
    return Reply(status, json.dumps(value, ensure_ascii=False).encode(), content_type, hint=hint)


def oauth_problem(status: int, hint: str) -> Reply:
    """Return the token endpoint's refusal with one ``hint``."""
    body = {
        "hint": hint,
        "title": "Некорректный запрос",
        "type": _OAUTH_TYPE,
        "status": status,
        "detail": "В запросе отсутствует ряд параметров или параметры невалидны",
    }
    return json_reply(body, status, "application/problem+json", hint)


def wrong_client_2020() -> Reply:
    """Return how amoCRM refused any mismatch of the integration in 2020 and 2021."""
    body = {
        "title": "Некорректный клиент",
        "type": _OAUTH_TYPE,
        "status": 401,
        "detail": "Авторизация клиента не прошла",
    }
    return json_reply(body, 401, "application/problem+json")


def no_authorization_header() -> Reply:
    """Return the look-up's refusal of a request without ``X-Refresh-Token``."""
    body = {
        "title": "Access denied",
        "type": "https://developers.amocrm.ru/v3/errors/AccessDenied",
        "status": 403,
        "detail": "You need an authorization header",
    }
    return json_reply(body, 403, "application/problem+json")


def api_problem(status: int, host: str = "", path: str = "", retry_after: int = 300) -> Reply:
    """Return the API's problem body for ``status``; a 401 reads alike for expired, revoked and foreign tokens."""
    titles = {
        400: ("Bad Request", "Request validation failed"),
        401: ("Unauthorized", "Invalid user name or password" if "kommo" in host else "Неверный логин или пароль"),
        402: ("Payment Required", "Payment required"),
        403: ("Forbidden", "Invalid scope"),
        404: ("Not Found", f"Cannot GET https://{host}{path}"),
        429: (
            "Too Many Requests",
            "You have sent too many requests in a given amount of time. Please try again later.",
        ),
    }
    if status not in titles:
        return _internal(status)
    title, detail = titles[status]
    body: dict[str, object] = {
        "title": title,
        "type": f"https://httpstatus.es/{status}",
        "status": status,
        "detail": detail,
    }
    if status == 429:  # noqa: PLR2004 - the status itself
        body["retry_after"] = retry_after
    return json_reply(body, status, "application/problem+json")


def _internal(status: int) -> Reply:
    body = {
        "title": "ErrInternalServer",
        "status": status,
        "detail": "Our team are probably already working on the elimination of the problem",
        "trace_id": "8e9b1e47-1ea4-111f0-a4f9-0031163e1de759",
    }
    return json_reply(body, status, "application/problem+json")


def canned(status: int, kind: str, ask: Ask, retry_after: int) -> Reply:
    """Return a failure of one ``kind``: ``json``, ``html`` (nginx's page), ``plain`` or ``empty``."""
    if kind == "json":
        return api_problem(status, ask.host, ask.path, retry_after)
    reason = _REASONS.get(status, str(status))
    if kind == "html":
        return Reply(status, _NGINX.format(reason).encode(), "text/html")
    return Reply(status, reason.encode() if kind == "plain" else b"", "text/plain")


def redirect(url: str, **params: str | None) -> Reply:
    """Return a 302 to ``url`` with the given parameters in their order."""
    return Reply(302, content_type="text/html", headers=(("location", url_with(url, **params)),))


def url_with(url: str, **params: str | None) -> str:
    """Return ``url`` with the given parameters in its query; those that are ``None`` are left out."""
    kept = {name: value for name, value in params.items() if value is not None}
    return f"{url}{'&' if '?' in url else '?'}{urlencode(kept)}"
