"""The pages that a browser sees on its way from amoCRM back to the app."""

from html import escape
from urllib.parse import quote, urlencode, urlsplit

from amocrm_userauth._core.model import Callback
from amocrm_userauth._wire.answers import Answer, retry_after
from amocrm_userauth.errors import AmoCRMUserAuthError, AuthorizationDenied, ConfigurationError

__all__ = ["checked_deep_link", "error_page", "redirect", "target"]

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
_OURS = {"code", "state", "referer", "error"}
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_SCRIPTS = {"javascript", "data", "vbscript", "blob", "file", "about", "view-source"}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>
</head>
<body><h1>{title}</h1>{body}</body>
</html>
"""


def checked_deep_link(link: str) -> str:
    """Return ``link`` if answers can be sent there: an app's own scheme, or https (http only on this machine).

    Raises:
        ConfigurationError: it cannot be; the message says why.

    """
    try:
        parts = urlsplit(link)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    if not link.isascii() or not link.isprintable() or " " in link or not parts.scheme or parts.scheme in _SCRIPTS:
        _refuse("must be an address such as 'myapp://amo-crm/callback' or an https App Link, percent-encoded")
    if (parts.scheme == "https" and not host) or (parts.scheme == "http" and host not in _LOCAL):
        _refuse("must name a host, and use https")
    if "#" in link:
        _refuse("must have no fragment")
    if _OURS & {name.partition("=")[0] for name in parts.query.split("&")}:
        _refuse(f"must not have the parameters {', '.join(sorted(_OURS))} already")
    return link


def _refuse(rule: str) -> None:
    msg = f"deep_link {rule}"
    raise ConfigurationError(msg)


def target(deep_link: str, answer: Callback) -> str:
    """Return the address of the app with amoCRM's answer in the query: a code, or that the user refused."""
    if answer.error:
        query = {"error": AuthorizationDenied.code, "state": answer.state}
    else:
        query = {"code": answer.code, "state": answer.state, "referer": answer.referer}
    filled = {name: value for name, value in query.items() if value}
    joint = "?" if "?" not in deep_link else "" if deep_link.endswith(("?", "&")) else "&"
    # %20, not +: the URL parsers of phones do not take a plus for a space.
    return f"{deep_link}{joint}{urlencode(filled, quote_via=quote, safe='')}"


def redirect(address: str) -> Answer:
    """Return a 302 to ``address`` with the link to tap: some browsers open an app only on a tap."""
    body = f'<p><a href="{escape(address)}">Return to the app</a></p>'
    return _page(302, "Back to the app", body, {"Location": address})


def error_page(error: AmoCRMUserAuthError) -> Answer:
    """Return a page that says what went wrong; nothing of the request is in it."""
    body = f"<p>{escape(error.message)}</p><p><code>{escape(error.code)}</code></p>"
    return _page(error.http_status, "amoCRM was not connected", body, retry_after(error))


def _page(status: int, title: str, body: str, headers: dict[str, str]) -> Answer:
    content = _PAGE.format(title=title, body=body)
    return Answer(status, "text/html; charset=utf-8", content, {**_HEADERS, **headers})
