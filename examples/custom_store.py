"""A store of your own, here on the standard library's sqlite3: what to write where the shipped stores do not fit.

    python examples/custom_store.py

Two things make a store: every method is one atomic step, and it raises ``StoreUnavailable`` if that fails. Here a step
is one conditional write and one read in a transaction. ``tests/examples/test_custom_store.py`` runs the conformance
suite on this file. To stay short it stores tokens as plain text: ``seal`` and ``unseal`` of ``amocrm_userauth.crypto``
would encrypt them.
"""

# ruff: noqa: D102, S608 - the methods are described where they are agreed, in TokenStore; names alone go into the SQL

import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from amocrm_userauth import Failure, StateRecord, StateStore, TokenPair, TokenStore, UserAuth, UserToken
from amocrm_userauth.errors import StoreUnavailable
from amocrm_userauth.testing import FakeAmoCRM

_ROW = tuple(name for name in UserToken.__slots__ if name not in {"user_id", "pair"})
_PAIR = ("token_type", "account_id", "amocrm_user_id", "domain", "api_domain", "access_token", "refresh_token")
_STATE = StateRecord.__slots__
_TIMES = {"expires_at", "pair_saved_at", "lease_until", "retry_at", "reauth_at", "rejected_at", "claim_until"}
_COLUMNS = ("user_id", *_ROW, *_PAIR, "expires_at", "scopes")
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS tokens ({", ".join(_COLUMNS)}, PRIMARY KEY (user_id));
CREATE TABLE IF NOT EXISTS states ({", ".join(_STATE)}, PRIMARY KEY (nonce_hash));
CREATE INDEX IF NOT EXISTS tokens_due ON tokens (pair_saved_at, user_id);
"""
_PUT = f"INSERT OR REPLACE INTO tokens VALUES ({', '.join(':' + name for name in _COLUMNS)})"
_GET = "SELECT * FROM tokens WHERE user_id = :user_id"
_LEASE = """
UPDATE tokens SET in_doubt = in_doubt OR coalesce(lease_holder != :holder, 0), lease_holder = :holder,
    lease_until = :until, rejected_at = iif(:rejected, :now, rejected_at)
WHERE user_id = :user_id AND revision = :revision
    AND (lease_holder IS NULL OR lease_holder = :holder OR lease_until <= :now)"""
_COMMIT = f"""
UPDATE tokens SET previous_refresh_token = iif(:keep OR in_doubt, :previous_refresh_token, NULL),
    revision = :revision, client_id = :client_id, pair_saved_at = :pair_saved_at, expires_at = :expires_at,
    scopes = :scopes, {", ".join(f"{name} = :{name}" for name in _PAIR)}, in_doubt = 0, lease_holder = NULL,
    lease_until = NULL, failures = 0, retry_at = NULL, failure = '', reauth_reason = NULL, reauth_at = NULL
WHERE user_id = :user_id AND revision = :over"""
_FAIL = """
UPDATE tokens SET lease_holder = NULL, lease_until = NULL, in_doubt = in_doubt OR :in_doubt, failures = :failures,
    retry_at = :retry_at, failure = :failure, reauth_reason = coalesce(:reauth_reason, reauth_reason),
    reauth_at = iif(:reauth_reason IS NULL, reauth_at, :reauth_at)
WHERE user_id = :user_id AND revision = :revision AND lease_holder = :holder"""
_DUE = """
SELECT * FROM tokens WHERE reauth_reason IS NULL AND pair_saved_at < :before AND (pair_saved_at, user_id) > (:at, :id)
ORDER BY pair_saved_at, user_id LIMIT :limit"""
_NEW_STATE = f"""
INSERT INTO states VALUES ({", ".join(":" + name for name in _STATE)}) ON CONFLICT (nonce_hash) DO UPDATE SET
    code_hash = :code_hash, user_hash = :user_hash, outcome = :outcome, claimant = :claimant,
    claim_until = :claim_until, expires_at = :expires_at
WHERE expires_at <= :now"""
_CLAIM = f"""{_NEW_STATE} OR (:outcome = 'claimed' AND code_hash = :code_hash AND user_hash = :user_hash
    AND (outcome IN ('recorded', 'retry') OR outcome = 'claimed' AND claim_until <= :now))"""
_GET_STATE = "SELECT * FROM states WHERE nonce_hash = :nonce_hash"
_FINISH = """
UPDATE states SET outcome = :new, claimant = '', claim_until = NULL
WHERE nonce_hash = :nonce_hash AND outcome = 'claimed' AND claimant = :claimant"""


class SQLiteTokenStore(TokenStore, StateStore):
    """Keeps tokens and states in one SQLite file, for any number of threads and processes of one machine."""

    def __init__(self, path: str) -> None:
        """Open the file, or make it."""
        self._path = path
        with closing(sqlite3.connect(path)) as db:
            db.executescript(_SCHEMA)

    def _step(self, write: str, read: str, **values: Any) -> tuple[bool, list[sqlite3.Row]]:
        """Write, then read, with nobody in between; return whether a row was written, and the rows that were read."""
        stored = {name: _time(value) if isinstance(value, datetime) else value for name, value in values.items()}
        try:
            with closing(sqlite3.connect(self._path, timeout=10, isolation_level=None)) as db:
                db.row_factory = sqlite3.Row
                db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                written = bool(write) and db.execute(write, stored).rowcount > 0
                rows = db.execute(read, stored).fetchall() if read else []
                db.execute("COMMIT")
                return written, rows
        except sqlite3.Error as error:
            problem = f"the token store failed ({type(error).__name__})"
        del values, stored  # a rendered traceback shows local variables
        raise StoreUnavailable(problem)  # out here, so that the cause, and what it holds, is not chained

    def get(self, user_id: str, *, with_tokens: bool = True) -> UserToken | None:  # noqa: ARG002 - costs nothing
        return _token(self._step("", _GET, user_id=self.canonical_user_id(user_id))[1])

    def put(self, token: UserToken) -> None:
        self._step(_PUT, "", **_values(token))

    def delete(self, user_id: str, *, revision: str | None = None) -> bool:
        delete = "DELETE FROM tokens WHERE user_id = :user_id AND revision = coalesce(:revision, revision)"
        return self._step(delete, "", user_id=user_id, revision=revision)[0]

    def take_lease(self, user_id: str, *, rejected: bool = False, **lease: Any) -> UserToken | None:
        return _token(self._step(_LEASE, _GET, user_id=user_id, rejected=rejected, **lease)[1])

    def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> UserToken | None:
        return _token(self._step(_COMMIT, _GET, **_values(token), over=over, keep=keep_previous)[1])

    def note_failure(self, user_id: str, *, revision: str, holder: str, failure: Failure) -> bool:
        values = {name: getattr(failure, name) for name in Failure.__slots__}
        return self._step(_FAIL, "", user_id=user_id, revision=revision, holder=holder, **values)[0]

    def list_due(
        self, *, saved_before: datetime, after: tuple[datetime, str] | None = None, limit: int = 100
    ) -> list[UserToken]:
        at, id_ = after or ("", "")
        rows = self._step("", _DUE, before=saved_before, at=at, id=id_, limit=limit)[1]
        return [token for row in rows if (token := _token([row]))]

    def find_login(self, *, account_id: str, amocrm_user_id: str) -> list[str]:
        find = "SELECT user_id FROM tokens WHERE account_id = :account AND amocrm_user_id = :login"
        return [row["user_id"] for row in self._step("", find, account=account_id, login=amocrm_user_id)[1]]

    def check_user(self, user_id: str) -> None:
        """Accept everybody: no table of users stands behind this one."""

    def remember_code(self, *, code_hash: str, user_hash: str, now: datetime, **rest: Any) -> bool:
        new = StateRecord(outcome="recorded", code_hash=code_hash, user_hash=user_hash, **rest)
        known = self._state(_NEW_STATE, new, now)
        return (known.code_hash, known.user_hash) == (code_hash, user_hash)

    def find_code(self, code_hash: str, *, now: datetime) -> list[StateRecord]:
        find = "SELECT * FROM states WHERE code_hash = :code_hash AND expires_at > :now"
        return [_record(row) for row in self._step("", find, code_hash=code_hash, now=now)[1]]

    def claim(self, *, until: datetime, now: datetime, **rest: Any) -> StateRecord:
        self._step("DELETE FROM states WHERE expires_at <= :now", "", now=now)
        return self._state(_CLAIM, StateRecord(outcome="claimed", claim_until=until, **rest), now)

    def finish(self, *, nonce_hash: str, claimant: str, outcome: str) -> bool:
        return self._step(_FINISH, "", nonce_hash=nonce_hash, claimant=claimant, new=outcome)[0]

    def _state(self, write: str, new: StateRecord, now: datetime) -> StateRecord:
        values = {name: getattr(new, name) for name in _STATE}
        return _record(self._step(write, _GET_STATE, **values, now=now)[1][0])


def _time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")  # of one length, so that text sorts as time does


def _read(row: sqlite3.Row, name: str) -> Any:
    return datetime.fromisoformat(row[name]) if name in _TIMES and row[name] else row[name]


def _values(token: UserToken) -> dict[str, Any]:
    values = {name: getattr(token, name) for name in ("user_id", *_ROW)}
    if callable(token.previous_refresh_token):
        values["previous_refresh_token"] = token.previous_refresh_token()
    pair = {name: getattr(token.pair, name) for name in (*_PAIR, "expires_at")}
    return values | pair | {"scopes": json.dumps(token.pair.scopes)}


def _token(rows: list[sqlite3.Row]) -> UserToken | None:
    for row in rows:
        fields = {name: _read(row, name) for name in (*_PAIR, "expires_at")}
        pair = TokenPair(**fields, scopes=tuple(json.loads(row["scopes"])))
        state = {name: _read(row, name) for name in ("user_id", *_ROW)} | {"in_doubt": bool(row["in_doubt"])}
        return UserToken(pair=pair, **state)
    return None


def _record(row: sqlite3.Row) -> StateRecord:
    return StateRecord(**{name: _read(row, name) for name in _STATE})


def main() -> int:
    """Connect a user of a fake amoCRM, and find the connection in the file again."""
    with tempfile.TemporaryDirectory() as folder, FakeAmoCRM() as fake:
        path = f"{folder}/tokens.sqlite3"
        with fake.http_client() as http, UserAuth(fake.integration(), SQLiteTokenStore(path), http=http) as auth:
            answer = fake.callback("anna", state=auth.begin("42").state)
            auth.connect("42", code=answer["code"], state=answer["state"], referer=answer["referer"])
            print("connected:", auth.status("42").connected)
            auth.refresh("42")
        row = SQLiteTokenStore(path).get("42")
        print("after a restart:", row)
    return 0 if row else 1


if __name__ == "__main__":
    sys.exit(main())
