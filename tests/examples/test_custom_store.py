"""The example of a store keeps every rule of the suite, and its demonstration runs."""

import sqlite3
from pathlib import Path

import pytest

from amocrm_userauth.errors import StoreUnavailable
from amocrm_userauth.testing import StoreContract
from examples.custom_store import SQLiteTokenStore, main


class TestSQLiteTokenStore(StoreContract):
    """The store of the example."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.path = str(tmp_path / "tokens.sqlite3")

    def make_store(self) -> SQLiteTokenStore:
        return SQLiteTokenStore(self.path)


def test_a_broken_database_is_a_known_error(tmp_path: Path) -> None:
    """What sqlite3 raises does not leak out, not even as a cause."""
    store = SQLiteTokenStore(str(tmp_path / "tokens.sqlite3"))
    with sqlite3.connect(tmp_path / "tokens.sqlite3") as db:
        db.execute("DROP TABLE tokens")
    db.close()
    with pytest.raises(StoreUnavailable) as caught:
        store.get("42")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_the_demonstration_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It connects, refreshes, and finds the row in the file; no token is printed."""
    assert main() == 0
    printed = capsys.readouterr().out
    assert "connected: True" in printed
    assert "after a restart: UserToken(user_id='42'" in printed
    assert "eyJ" not in printed
