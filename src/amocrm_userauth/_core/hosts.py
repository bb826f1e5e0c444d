"""Which hosts are amoCRM's. The client secret and the tokens go nowhere else."""

import re
from urllib.parse import urlsplit

from amocrm_userauth.errors import UntrustedHost

__all__ = ["DEFAULT_SUFFIXES", "trusted_host"]

DEFAULT_SUFFIXES = ("amocrm.ru", "amocrm.com", "kommo.com")

_LABELS = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MAX_HOST = 253


def trusted_host(value: object, suffixes: tuple[str, ...] = DEFAULT_SUFFIXES) -> str:
    """Return the lower-cased host named by ``value`` if it is a subdomain of one of ``suffixes``.

    ``value`` is a host, or an ``https://`` URL of one (some texts show the ``referer`` parameter with a scheme).
    Anything that could make the name mean something else is refused: a port, user info, an IP address, a trailing
    dot, characters outside ASCII (look-alikes), a path or query.

    Raises:
        UntrustedHost: nothing may be sent there.

    """
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise UntrustedHost  # control characters too: urlsplit drops some of them
    if " " in value or len(value) > _MAX_HOST + len("https:///"):
        raise UntrustedHost
    host = value
    if "://" in value:
        host = _host_of_url(value)
    host = host.lower()
    if len(host) > _MAX_HOST or not _LABELS.fullmatch(host):
        raise UntrustedHost
    if not any(host.endswith("." + suffix) for suffix in suffixes):
        raise UntrustedHost
    return host


def _host_of_url(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:
        raise UntrustedHost from None
    if parts.scheme != "https" or parts.path not in {"", "/"} or "?" in value or "#" in value:
        raise UntrustedHost
    return parts.netloc
