"""Which hosts are amoCRM's: the client secret is posted to what this lets through."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amocrm_userauth._core.hosts import DEFAULT_SUFFIXES, trusted_host
from amocrm_userauth.errors import UntrustedHost

EVIL = [
    None,
    17,
    b"example.amocrm.ru",
    ["example.amocrm.ru"],
    "",
    " ",
    ".",
    "amocrm.ru",
    "amocrm.com",
    "kommo.com",
    ".amocrm.ru",
    "..amocrm.ru",
    "a..amocrm.ru",
    "evilamocrm.ru",
    "evil-amocrm.ru",
    "amocrm.ru.evil.com",
    "example.amocrm.ru.evil.com",
    "example.amocrm.ru.",
    "evil.com",
    "localhost",
    "example.amocrm.ru:443",
    "example.amocrm.ru:8443",
    "example.amocrm.ru:",
    "example.amocrm.ru:443@evil.com",
    "user@example.amocrm.ru",
    "user:secret@example.amocrm.ru",
    "evil.com@example.amocrm.ru",
    "example.amocrm.ru@evil.com",
    "evil.com/example.amocrm.ru",
    "evil.com/.amocrm.ru",
    "evil.com\\.amocrm.ru",
    "evil.com#.amocrm.ru",
    "evil.com?.amocrm.ru",
    "evil.com%2f.amocrm.ru",
    "evil.com%00.amocrm.ru",
    "evil.com\0.amocrm.ru",
    "evil.com\n.amocrm.ru",
    "example.amocrm.ru\n",
    "\nexample.amocrm.ru",
    "example.amocrm.ru\r\nX-Evil: 1",
    "example.amocrm.ru\0",
    "example.amocrm.ru\t",
    " example.amocrm.ru",
    "example.amocrm.ru ",
    "exa mple.amocrm.ru",
    "exa_mple.amocrm.ru",
    "_example.amocrm.ru",
    "-example.amocrm.ru",
    "example-.amocrm.ru",
    "*.amocrm.ru",
    "example.amocrm。ru",
    "example．amocrm.ru",
    "example｡amocrm.ru",
    "exаmple.amocrm.ru",
    "example.аmocrm.ru",
    "ﬁ.amocrm.ru",
    "\u212aommo.kommo.com",  # the sign of kelvin
    "example.kommo.com\u200b",
    "example.xn--mocrm-6ve.ru",
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "::1",
    "169.254.169.254",
    "①②⑦.⓪.⓪.①",
    "x" * 64 + ".amocrm.ru",
    "x." * 130 + "amocrm.ru",
    "x" * 5000 + ".amocrm.ru",
    "http://example.amocrm.ru",
    "ftp://example.amocrm.ru",
    "javascript://example.amocrm.ru",
    "//example.amocrm.ru",
    "https:example.amocrm.ru",
    "https:/example.amocrm.ru",
    "https://",
    "https:///",
    "https://[::1",
    "https://example.amocrm.ru:443",
    "https://example.amocrm.ru:443/",
    "https://user@example.amocrm.ru/",
    "https://evil.com\\@example.amocrm.ru",
    "https://example.amocrm.ru/path",
    "https://example.amocrm.ru//",
    "https://example.amocrm.ru?",
    "https://example.amocrm.ru/?a=b",
    "https://example.amocrm.ru#",
    "https://example.amocrm.ru;x",
    "https://exa\nmple.amocrm.ru",
    "https://exa\tmple.amocrm.ru",
    "ht\ntps://example.amocrm.ru",
    "\x01https://example.amocrm.ru",
    " https://example.amocrm.ru",
    "https://example.amocrm.ru.",
    "https://amocrm.ru/",
    "https://evil.com/https://example.amocrm.ru",
    "example.amocrm.ru,evil.com",
    "example.amocrm.ru;evil.com",
    "example.amocrm.ru|evil.com",
    "(example).amocrm.ru",
]


@pytest.mark.parametrize("value", EVIL, ids=lambda value: ascii(value)[:40])
def test_a_host_that_could_mean_something_else_is_refused(value):
    """Nothing is repaired: what is not plainly a subdomain of amoCRM's is not trusted."""
    with pytest.raises(UntrustedHost):
        trusted_host(value)


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("example.amocrm.ru", "example.amocrm.ru"),
        ("EXAMPLE.AmoCRM.RU", "example.amocrm.ru"),
        ("example.amocrm.com", "example.amocrm.com"),
        ("example.kommo.com", "example.kommo.com"),
        ("api-b.amocrm.ru", "api-b.amocrm.ru"),
        ("1.amocrm.ru", "1.amocrm.ru"),
        ("a.b.amocrm.ru", "a.b.amocrm.ru"),
        ("xn--e1afmkfd.amocrm.ru", "xn--e1afmkfd.amocrm.ru"),
        ("x" * 63 + ".amocrm.ru", "x" * 63 + ".amocrm.ru"),
        ("https://example.amocrm.ru", "example.amocrm.ru"),
        ("https://example.amocrm.ru/", "example.amocrm.ru"),
        ("HTTPS://Example.amocrm.ru/", "example.amocrm.ru"),
    ],
)
def test_a_subdomain_of_amocrms_is_returned_in_lower_case(value, host):
    """As a host or as an https address, as third parties show the ``referer``."""
    assert trusted_host(value) == host


def test_only_the_configured_suffixes_count():
    """An integration may trust other domains, and then no more than those."""
    assert trusted_host("a.crm.example", ("crm.example",)) == "a.crm.example"
    with pytest.raises(UntrustedHost):
        trusted_host("a.amocrm.ru", ("crm.example",))


def test_the_error_does_not_repeat_the_host():
    """What was named came from outside and is not echoed."""
    with pytest.raises(UntrustedHost) as caught:
        trusted_host("evil.example")
    assert "evil" not in str(caught.value)


PLAIN = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")


@given(
    st.text(max_size=30)
    | st.builds("{}amocrm.ru{}".format, st.text(max_size=12), st.text(max_size=6))
    | st.builds("https://{}kommo.com{}".format, st.text(max_size=12), st.text(max_size=6))
)
@example("example.amocrm.ru")
def test_what_is_trusted_is_plainly_amocrms(value):
    """Whatever comes in, what comes out is a lower-case ASCII name under one of the suffixes, and stays so."""
    try:
        host = trusted_host(value)
    except UntrustedHost:
        return
    assert PLAIN.fullmatch(host)
    assert host.endswith(tuple(f".{suffix}" for suffix in DEFAULT_SUFFIXES))
    assert trusted_host(host) == host
    assert host in value.lower()
