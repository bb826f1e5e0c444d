"""The database of one run: a SQLite file, or a server of the run's own that can be killed and started again.

Commits are durable against a killed server: PostgreSQL writes them to the kernel (``synchronous_commit=on``; without
``fsync``, which only a power cut would need), MariaDB likewise (``innodb_flush_log_at_trx_commit=2``).
"""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from amocrm_userauth.sqlalchemy import SQLAlchemyTokenStore
from tests import services

_PATIENCE = 60.0
_TABLE = "amo_crm_tokens"


class Database:
    """What the faults do to a database."""

    restarts = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._lock = threading.Lock()

    def start(self) -> None:
        """Make it ready."""

    def stop(self) -> None:
        """End it."""

    def restart(self, *, hard: bool) -> None:
        """End it as a crash does, and start it again."""

    def cut(self) -> int:
        """End every connection of the workers; return how many."""
        return 0

    def hold(self, seconds: float) -> None:
        """Keep every writer waiting."""

    def connections(self) -> int:
        """Count the connections there are."""
        return 0

    def create_schema(self, make: Callable[[str], None]) -> None:
        """Let ``make`` make the tables, given the address."""
        make(self.url)

    def rows(self, users: list[str]) -> dict[str, Any]:
        """Return every user's row. The tables of all stores are alike."""
        with self._store() as store:
            return {user: store.get(user) for user in users}

    @contextlib.contextmanager
    def _store(self) -> Iterator[SQLAlchemyTokenStore]:
        engine = create_engine(self.url, pool_size=1)
        try:
            yield SQLAlchemyTokenStore(engine)
        finally:
            engine.dispose()


class SQLite(Database):
    """A file. Its faults are other processes that hold the write lock."""

    restarts = False

    def start(self) -> None:
        self.url = f"sqlite:///{self.folder / 'tokens.db'}"
        connection = sqlite3.connect(self.folder / "tokens.db")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()

    def hold(self, seconds: float) -> None:
        connection = sqlite3.connect(self.folder / "tokens.db", timeout=10, isolation_level=None)
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
        connection.close()


class Server(Database):
    """A server in a folder of its own."""

    user = ""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = services._free_port()
        self.home = folder / self.user
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def prepare(self) -> None:
        raise NotImplementedError

    def start(self) -> None:
        self.home.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.home, self.user)
        self.prepare()
        self._run()

    def _run(self) -> None:
        give_up = time.monotonic() + _PATIENCE
        while not self._is_up():
            if self._process is None or self._process.poll() is not None:
                with (self.home / "log").open("ab") as log:
                    command = services._prefixed(self.user, self.command())
                    self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
            if time.monotonic() > give_up:
                msg = f"the database does not start; see {self.home / 'log'}"
                raise RuntimeError(msg)
            time.sleep(0.1)

    def _is_up(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return False
        with contextlib.suppress(SQLAlchemyError, OSError):
            self.execute("SELECT 1")
            return True
        return False

    def execute(self, *statements: str, hold: float = 0.0) -> list[Any]:
        engine = create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            rows: list[Any] = []
            for statement in statements:
                result = connection.execute(text(statement))
                rows = list(result) if result.returns_rows else []
            time.sleep(hold)
            return rows

    def restart(self, *, hard: bool) -> None:
        with self._lock:
            assert self._process is not None
            self._process.send_signal(signal.SIGKILL if hard else self.quit)
            self._process.wait(_PATIENCE)
            self._run()

    quit = signal.SIGQUIT

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.quit)
            self._process.wait(_PATIENCE)


class PostgreSQL(Server):
    """PostgreSQL; an immediate shutdown (SIGQUIT) and SIGKILL both need crash recovery."""

    user = "postgres"

    def prepare(self) -> None:
        self._initdb = services._program("initdb", "postgresql", "/usr/lib/postgresql/*/bin")
        data = str(self.home / "data")
        services._as(self.user, [self._initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def command(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.home,
            "synchronous_commit": "on",
            "fsync": "off",
            "max_connections": 200,
        }
        server = str(Path(self._initdb).resolve().parent / "postgres")
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [server, "-D", str(self.home / "data"), *flags]

    def cut(self) -> int:
        others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        return len(self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))

    def hold(self, seconds: float) -> None:
        self.execute("SET idle_in_transaction_session_timeout=0", "BEGIN", f"LOCK TABLE {_TABLE}", hold=seconds)

    def connections(self) -> int:
        others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        return int(self.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {others}")[0][0])


class MariaDB(Server):
    """MariaDB; it knows no other crash than SIGKILL."""

    user = "mysql"
    quit = signal.SIGKILL

    def prepare(self) -> None:
        self._server = services._program("mariadbd", "mariadb-server", "/usr/sbin")
        install = services._program("mariadb-install-db", "mariadb-server", "/usr/bin")
        data = f"--datadir={self.home / 'data'}"
        services._as(self.user, [install, "--no-defaults", data, "--auth-root-authentication-method=normal"])
        self.url = f"mysql+pymysql://root@127.0.0.1:{self.port}/test?charset=utf8mb4"

    def command(self) -> list[str]:
        home = self.home
        address = [
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--socket={home}/socket",
            f"--pid-file={home}/pid",
        ]
        settings = ["--innodb-flush-log-at-trx-commit=2", "--skip-log-bin", "--innodb-buffer-pool-size=32M"]
        return [self._server, "--no-defaults", f"--datadir={home / 'data'}", *address, *settings]

    def create_schema(self, make: Callable[[str], None]) -> None:
        self.execute("ALTER DATABASE test CHARACTER SET utf8mb4")
        super().create_schema(make)

    def cut(self) -> int:
        ids = self.execute(
            "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = 'root'"
        )
        for (number,) in ids:
            with contextlib.suppress(SQLAlchemyError):
                self.execute(f"KILL {number}")
        return len(ids)

    def hold(self, seconds: float) -> None:
        self.execute(f"LOCK TABLES {_TABLE} WRITE", hold=seconds)

    def connections(self) -> int:
        query = "SELECT count(*) FROM information_schema.processlist WHERE id <> connection_id() AND user = 'root'"
        return int(self.execute(query)[0][0])


def made(kind: str, folder: Path) -> Database:
    """Return the database of a run; it is not started yet."""
    return {"sqlite": SQLite, "postgresql": PostgreSQL, "mariadb": MariaDB}[kind](folder)
