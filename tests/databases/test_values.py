"""What is written comes back, to the last byte and microsecond, and what differs stays different, on every driver."""

import unicodedata
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from amocrm_userauth import TokenPair
from amocrm_userauth.crypto import FernetCipher
from tests.databases.kit import DRIVERS, Given, address_of, lease, opened, together, token

ALL = list(DRIVERS)
CIPHER = FernetCipher([FernetCipher.generate_key()])
# Sessions as odd as they come: times elsewhere, MariaDB not strict and with double quotes for names.
ODD = {
    "postgresql": ("SET TIME ZONE 'America/New_York'",),
    "mariadb": ("SET SESSION time_zone = '+05:45'", "SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'"),
    "sqlite": (),
}
IDS = (
    "straße", "strasse", "STRASSE", "straẞe",
    "e\u0301", "\u00e9", "e", "E", "É",
    "bob", "bob ", " bob", "bob\t", "Bob", "\uff22\uff4f\uff42", "bo\u200bb", "bob\u00a0", "ｂob",
    "İ", "I", "ı", "i", "\u0130".lower(),
    "\U0001f600", "\U0001f601", "\U00010400", "\U00010428", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "مرحبا", "\u202eabc", "שלום", "ㄅ", "カ", "か", "ｶ", "ё", "е", "Ё",
    "\u0301", "\u0001", "\ufffe", "\uffff", "\x7f", "a\nb", "a\r\nb",
    "'", '"', "`", "\\", "\\'", "%s", "%", ":p_user_id", "{}", "$1", "'; DROP TABLE x; --", "\\\\", "NULL", "0", "00",
    "\U0001f600" * 255, "\U0001f600" * 254, "ä" * 255, "x" * 255,
)  # fmt: skip


@pytest.fixture(params=ALL)
async def given(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Given]:
    driver = DRIVERS[request.param]
    database = address_of(driver, request, tmp_path)
    async with opened(driver, database, prefix="values", on_connect=ODD[driver.kind], cipher=CIPHER) as made:
        yield made


async def test_ids_that_look_alike_stay_apart(given: Given) -> None:
    """Case, accents, width, normal forms, spaces, quotes, surrogate pairs: each id has a row of its own, and keeps it."""
    assert len(set(IDS)) == len(IDS)
    for number, user in enumerate(IDS):
        await given.store.put(token(user, f"rev-{number}"))
    for number, user in enumerate(IDS):
        row = await given.store.get(user)
        assert (row.user_id, row.revision, row.pair.access_token) == (
            user,
            f"rev-{number}",
            f"example-access-rev-{number}",
        )
        leased = await given.store.take_lease(**lease(user, f"rev-{number}"))
        assert leased.lease_holder == "holder"
    pages, after = [], None
    while page := await given.store.list_due(saved_before=datetime.max.replace(tzinfo=UTC), after=after, limit=10):
        after = (page[-1].pair_saved_at, page[-1].user_id)
        pages += [row.user_id for row in page]
    assert pages == sorted(IDS)  # by code point, in every database
    for user in IDS:
        assert await given.store.delete(user) is True
        assert await given.store.get(user) is None
    assert given.rows() == []


async def test_every_normal_form_is_an_id_of_its_own(given: Given) -> None:
    """A store does not normalise: what the application calls two users are two."""
    forms = {unicodedata.normalize(form, "ﬁancé Å") for form in ("NFC", "NFD", "NFKC", "NFKD")}
    for user in forms:
        await given.store.put(token(user, str(len(user))))
    assert {(await given.store.get(user)).user_id for user in forms} == forms


async def test_times_keep_their_microseconds(given: Given) -> None:
    """Whatever zone the session, the server or the caller lives in, also where clocks are put back."""
    twice = datetime(2024, 10, 27, 2, 30, 0, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    moments = [
        datetime(2025, 3, 9, 2, 30, 0, 999_999, tzinfo=UTC),  # an hour that New York does not have
        twice.replace(fold=0),
        twice.replace(fold=1),
        datetime(2024, 2, 29, 23, 59, 59, 123_456, tzinfo=timezone(timedelta(hours=14))),
        datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(2038, 1, 19, 3, 14, 8, 1, tzinfo=UTC),
        datetime(9999, 1, 1, tzinfo=UTC),
    ]
    for number, moment in enumerate(moments):
        pair = TokenPair(access_token="example", refresh_token="example", expires_at=moment)
        await given.store.put(token(f"user-{number}", pair=pair, pair_saved_at=moment, retry_at=moment))
        row = await given.store.get(f"user-{number}")
        moment_in_utc = moment.astimezone(UTC)
        assert [row.pair.expires_at, row.pair_saved_at, row.retry_at] == [moment_in_utc] * 3
        assert row.pair_saved_at.utcoffset() == timedelta(0)
        assert row.pair_saved_at.microsecond == moment.microsecond
    first, again = await given.store.get("user-1"), await given.store.get("user-2")
    assert again.pair_saved_at - first.pair_saved_at == timedelta(hours=1)
    # A lease ends at its microsecond, not around it.
    at = datetime(2025, 3, 9, 6, 59, 59, 500_000, tzinfo=UTC)
    await given.store.take_lease(**lease("user-0", at=at))
    end, last = at + timedelta(seconds=90), timedelta(microseconds=1)
    assert (await given.store.take_lease(**lease("user-0", holder="b", at=end - last))).lease_holder == "holder"
    assert (await given.store.take_lease(**lease("user-0", holder="b", at=end))).lease_holder == "b"


@pytest.mark.parametrize("size", [pytest.param(4096, marks=pytest.mark.long), 16_384])
async def test_long_tokens_come_back_whole(given: Given, size: int) -> None:
    """Three tokens of 4 KiB, and of the most that is accepted, encrypted, for an id of 1020 bytes."""
    user = "\U0001f600" * 255
    kinds = ("access", "refresh", "previous")
    access, refresh, previous = (f"example-{kind}-".ljust(size - 1, kind[0]) + "." for kind in kinds)
    pair = TokenPair(access_token=access, refresh_token=refresh, expires_at=datetime(2025, 1, 1, tzinfo=UTC))
    await given.store.put(token(user, "rev-0"))
    await given.store.commit(
        token(user, "rev-1", pair=pair, previous_refresh_token=previous), over="rev-0", keep_previous=True
    )
    row = await given.store.get(user)
    assert (row.pair.access_token, row.pair.refresh_token, row.previous_refresh_token()) == (access, refresh, previous)
    assert not any(value.startswith("example") for value in given.rows("access_token, refresh_token")[0])


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("pymysql", {"charset": "latin1"}),
        ("asyncmy", {"charset": "latin1"}),
        ("pymysql", {"charset": "utf8"}),
        ("asyncmy", {"charset": "utf8"}),
        ("psycopg", {"client_encoding": "latin1"}),
    ],
)
async def test_a_connection_that_cannot_hold_the_text(
    name: str, query: dict[str, str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What fits comes back right; what does not is refused with the cure, and nobody is mistaken for somebody else."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    async with (
        opened(driver, database, prefix="charset") as whole,
        opened(driver, database.update_query_dict(query), prefix="charset", empty=False) as given,
    ):
        for user in ("\u00e9", "?", "??", "????", "\ufffd"):
            await whole.store.put(token(user, f"rev-{user}"))
        assert (await given.store.get("\u00e9")).revision == "rev-\u00e9"
        for user in ("\U0001f600", "\U0001f601"):
            for step in (
                lambda user=user: given.store.put(token(user)),
                lambda user=user: given.store.get(user),
                lambda user=user: given.store.delete(user),
            ):
                [result] = await together([step])
                assert result is None or "character set cannot hold this text" in str(result), result
                assert user not in str(result)
        assert len(whole.rows()) == 5
