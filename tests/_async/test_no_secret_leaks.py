"""Nothing secret shows: a whole life of a connection, with every failure, is searched for every secret used."""

import io
import logging
import traceback
from contextlib import asynccontextmanager
from functools import partial

import pytest
from sqlalchemy import text

from amocrm_userauth import AsyncUserAuth, errors
from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore
from amocrm_userauth.testing import FakeAmoCRM
from tests._async.kit import DAY, AsyncImpatientUserAuth
from tests.pairs import async_sqlite_engine

REJECTED = "example-rejected-token-that-nobody-may-see"
STATE_KEY = "example-state-key-that-nobody-may-see"


class Listener:
    """Collects everything that is shown: logs, events, results and errors with their frames' local variables."""

    def __init__(self) -> None:
        self.shown = io.StringIO()
        self.errors: list[str] = []

    def show(self, value: object) -> None:
        """Show a value the way logs and debuggers do."""
        print(repr(value), str(value), file=self.shown)

    async def caught(self, call, *args, **more) -> None:
        """Make a call that fails and show its error, with its frames and their local variables."""
        with pytest.raises((errors.AmoCRMUserAuthError, ValueError)) as caught:
            await call(*args, **more)
        error = caught.value
        self.errors.append(getattr(error, "code", "ValueError"))
        self.show(error)
        self.show(vars(error))
        # the frames of the test itself hold what it sent
        frames = error.__traceback__
        while frames is not None and "amocrm_userauth" not in frames.tb_frame.f_code.co_filename:
            frames = frames.tb_next
        rendered = traceback.TracebackException(type(error), error, frames, capture_locals=True)
        self.shown.writelines(rendered.format())


@asynccontextmanager
async def sqlite(tmp_path, cipher):
    """A SQLAlchemy store on a file of its own."""
    engine = async_sqlite_engine(tmp_path / "example.sqlite3")
    store = AsyncSQLAlchemyTokenStore(engine, cipher=cipher)
    yield store, engine
    await engine.dispose()


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_whole_life_shows_no_secret(tmp_path, caplog, encrypted):
    """DEBUG logs of every library, rendered tracebacks, events, reprs and error texts hold none of the secrets."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)  # it prints every statement's parameters by itself
    key = FernetCipher.generate_key()
    cipher = FernetCipher([key]) if encrypted else None
    listener = Listener()
    with FakeAmoCRM(rotation="strict", rate_limit=None) as fake:
        async with sqlite(tmp_path, cipher) as (store, engine), fake.async_http_client() as http:
            secrets = await live(fake, store, engine, http, listener)
        secrets |= {key, fake.integration().client_secret, STATE_KEY, REJECTED}
        for user in ("anna", "boris"):
            for pair in fake.pairs(user):
                secrets |= {pair.access_token, pair.refresh_token}
    shown = listener.shown.getvalue() + caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    assert len(secrets) > 20
    assert {"invalid_state", "invalid_code", "untrusted_host", "not_connected", "grant_revoked"} <= set(listener.errors)
    assert {"amocrm_unavailable", "store_unavailable", "configuration_error", "token_not_saved"} <= set(listener.errors)
    for secret in secrets:
        # a renderer may cut a long value: its beginning would be as bad
        assert secret[:60] not in shown or secret.startswith("eyJ0eXAi"), f"{secret[:6]}… was shown"
        assert secret not in shown
        assert secret[-40:] not in shown


async def live(fake, store, engine, http, listener) -> set[str]:
    """Live through everything; return the codes and states that were used."""
    integration, used = fake.integration(), set()
    auth = AsyncImpatientUserAuth(
        integration, store, http=http, state_keys=[STATE_KEY], on_event=listener.show, clock=fake.now, save_budget=1
    )
    listener.show(auth)
    listener.show(integration)

    async def attempt(user_id="42", user="anna", **more):
        request = await auth.begin(user_id)
        code = fake.authorize(user=user, state=request.state)
        used.update({request.state, code})
        listener.show(request)
        params = {"code": code, "state": request.state, "referer": fake.host(user)}
        listener.show(await auth.accept_callback(params.items()))
        return partial(auth.connect, user_id, **(params | more))

    listener.show(await (await attempt())())
    listener.show(await auth.refresh("42"))
    listener.show(await auth.status("42"))
    listener.show(await store.get("42"))
    listener.show((await store.get("42")).pair)
    await listener.caught(await attempt(referer="evil.example"))
    await listener.caught(await attempt(state="a1.garbage"))
    await listener.caught(await attempt(user_id="7", user="boris", code="def50200" + "0" * 900))
    await listener.caught(auth.connect, "7", code="x" * 5000, state="y")
    await listener.caught(auth.connect, "7", code="def50200", state=next(state for state in used if state[:3] == "a1."))
    await listener.caught(auth.accept_callback, [("code", "c"), ("state", "s"), ("state", "s")])
    await listener.caught(auth.access_token, "7", rejected=REJECTED)
    await listener.caught(auth.access_token, None, rejected=REJECTED)
    for failure in ({"status": 429, "retry_after": 5}, {"kind": "silence"}, {"kind": "truncated"}):
        fake.fail_next("anna", **failure)
        await listener.caught(auth.refresh, "42")
        fake.advance(120)
        if failure.get("kind") == "truncated":
            await listener.caught(auth.refresh, "42")
            listener.show(await (await attempt())())
    fake.fail_next("boris", status=500)
    await listener.caught(await attempt("7", "boris"))
    fake.fail_next("anna", status=400, body='{"hint":"Check the `client_secret` parameter"}')
    await listener.caught(auth.refresh, "42")
    fake.advance(DAY)
    await broken_store(auth, store, engine, listener)
    fake.revoke("anna")
    await listener.caught(auth.refresh, "42")
    listener.show(await auth.disconnect("42"))
    await auth.aclose()
    return used


async def broken_store(auth, store, engine, listener) -> None:
    """Take the table away while a refresh is under way, and give it back."""
    row = await store.get("42")
    commit = store.commit

    async def taken_away(*args, **more):
        async with engine.begin() as connection:
            await connection.execute(text("ALTER TABLE amo_crm_tokens RENAME TO away"))
        try:
            return await commit(*args, **more)
        finally:
            async with engine.begin() as connection:
                await connection.execute(text("ALTER TABLE away RENAME TO amo_crm_tokens"))

    store.commit = taken_away
    await listener.caught(auth.refresh, "42")
    await listener.caught(partial(AsyncUserAuth.connect, auth), "42", code="def50200", state=row.revision)
    del store.commit
    listener.show(await auth.access_token("42") is not None)
    get = store.get

    async def broken(user_id, **more):
        await get(user_id, **more)
        raise OSError(row.pair.refresh_token)

    store.get = broken
    await listener.caught(auth.access_token, "42")
    del store.get
