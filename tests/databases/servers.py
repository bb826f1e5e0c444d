"""Servers of the test's own, which may be stopped, started again, and set up badly."""

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from tests import services

_PATIENCE = 60


class Server:
    """A PostgreSQL or MariaDB server; ``more`` are its settings. Nobody else uses it."""

    def __init__(self, kind: str, *more: str) -> None:
        self.kind = kind
        self.port = services._free_port()
        self.user = {"postgresql": "postgres", "mariadb": "mysql"}[kind]
        self.folder = services._folder(self.user)
        self._command = [*(self._postgresql() if kind == "postgresql" else self._mariadb()), *more]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> URL:
        """The address of a database on it."""
        if self.kind == "postgresql":
            return URL.create("postgresql+psycopg", "postgres", host="127.0.0.1", port=self.port, database="postgres")
        return URL.create("mysql+pymysql", "root", host="127.0.0.1", port=self.port, database="test")

    def _postgresql(self) -> list[str]:
        initdb = services._program("initdb", "postgresql", "/usr/lib/postgresql/*/bin")
        data = f"{self.folder}/data"
        services._as("postgres", [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}"]
        program = str(Path(initdb).resolve().parent / "postgres")
        return [program, "-D", data, *(part for setting in (*settings, "fsync=off") for part in ("-c", setting))]

    def _mariadb(self) -> list[str]:
        server = services._program("mariadbd", "mariadb-server", "/usr/sbin")
        install = services._program("mariadb-install-db", "mariadb-server", "/usr/bin")
        data = f"{self.folder}/data"
        small = ["--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M"]
        where = ["--no-defaults", f"--datadir={data}"]
        services._as("mysql", [install, *where, "--auth-root-authentication-method=normal"])
        address = ["--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self.folder}/socket"]
        return [server, *where, *address, f"--pid-file={self.folder}/pid", "--performance-schema=0", *small]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with Path(self.folder, "log").open("ab") as log:
            command = services._prefixed(self.user, self._command)
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            assert time.monotonic() < deadline, Path(self.folder, "log").read_text(errors="replace")[-2000:]
            time.sleep(0.05)

    def stop(self, *, kill: bool = False) -> None:
        """Stop it without waiting for its clients, or end it as a power cut does."""
        if self._process is None:
            return
        # an interrupt is PostgreSQL's fast shutdown; when told to terminate it waits for its clients
        polite = signal.SIGINT if self.kind == "postgresql" else signal.SIGTERM
        self._process.send_signal(signal.SIGQUIT if kill and self.kind == "postgresql" else polite)
        if kill and self.kind == "mariadb":
            self._process.kill()
        self._process.wait(_PATIENCE)
        self._process = None

    def execute(self, statement: str) -> Any:
        engine = create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            return connection.execute(text(statement))

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except SQLAlchemyError:
            return False
        return True

    def remove(self) -> None:
        """Stop it and delete what it wrote."""
        self.stop(kill=True)
        shutil.rmtree(self.folder, ignore_errors=True)
