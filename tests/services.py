"""Real servers for tests: the one that the environment names, the one on the usual local port, or one of our own.

``AMOCRM_TEST_POSTGRESQL_URL``, ``AMOCRM_TEST_MARIADB_URL`` and ``AMOCRM_TEST_REDIS_URL`` name a server, whose user may
create databases. Where there is none, root installs one with apt-get, and it is started in a temporary directory until
the process ends. What cannot be had is skipped, and the summary says so; ``AMOCRM_TEST_REQUIRE_SERVICES=1`` makes it fail.
"""

import atexit
import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

MISSING: dict[str, str] = {}
"""What could not be had, and why; the terminal summary shows it."""

_PATIENCE = 60
_DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+pymysql"}


def database(kind: str) -> Iterator[URL]:
    """Yield the address of an empty database of this process's own on a ``postgresql`` or ``mariadb`` server."""
    server = _find(kind)
    name = f"amocrm_test_{os.getpid()}_{secrets.token_hex(4)}"
    create = f"CREATE DATABASE {name}" + (" CHARACTER SET utf8mb4" if kind == "mariadb" else "")
    drop = f"DROP DATABASE {name}" + (" WITH (FORCE)" if kind == "postgresql" else "")
    _execute(server, create)
    try:
        yield server.set(database=name)
    finally:
        _execute(server, drop)


def redis_url() -> str:
    """Return the address of a Redis server; use keys of your own."""
    return _found("redis", "AMOCRM_TEST_REDIS_URL", ["redis://127.0.0.1:6379/0"], _answers_redis, _start_redis)


def _find(kind: str) -> URL:
    variable = f"AMOCRM_TEST_{kind.upper()}_URL"
    if kind == "postgresql":
        usual = [
            f"postgresql://{user}@127.0.0.1:5432/postgres" for user in dict.fromkeys(("postgres", getpass.getuser()))
        ]
        found = _found(kind, variable, usual, _answers, _start_postgresql)
    else:
        found = _found(kind, variable, ["mysql://root@127.0.0.1:3306/"], _answers, _start_mariadb)
    return make_url(found).set(drivername=_DRIVERS[kind])


def _found(kind: str, variable: str, usual: list[str], answers: Callable[[str], bool], start: Callable[[], str]) -> str:
    given = os.environ.get(variable)
    try:
        return given or _search(kind, tuple(usual), answers, start)
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        MISSING[kind] = f"{error}; set {variable}"
    reason = f"no {kind}: {MISSING[kind]}"
    if os.environ.get("AMOCRM_TEST_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def _search(kind: str, usual: tuple[str, ...], answers: Callable[[str], bool], start: Callable[[], str]) -> str:
    for address in usual:
        if answers(address):
            return address
    address = start()
    deadline = time.monotonic() + _PATIENCE
    while not answers(address):
        if time.monotonic() > deadline:
            msg = f"our own {kind} did not answer within {_PATIENCE} s"
            raise RuntimeError(msg)
        time.sleep(0.1)
    return address


def _answers(address: str) -> bool:
    url = make_url(address)
    with contextlib.suppress(SQLAlchemyError, OSError):
        _execute(
            url.set(drivername=_DRIVERS["postgresql" if url.drivername == "postgresql" else "mariadb"]), "SELECT 1"
        )
        return True
    return False


def _answers_redis(address: str) -> bool:
    url = make_url(address)
    with contextlib.suppress(OSError), socket.create_connection((url.host, url.port), 2) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False


def _execute(url: URL, statement: str) -> None:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))


def _start_postgresql() -> str:
    initdb = _program("initdb", "postgresql", "/usr/lib/postgresql/*/bin")
    folder, port = _folder("postgres"), _free_port()
    settings = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
    data = f"{folder}/data"
    _as("postgres", [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
    _serve(
        "postgres", [str(Path(initdb).resolve().parent / "postgres"), "-D", data, *settings, "-c", "fsync=off"], folder
    )
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def _start_mariadb() -> str:
    server = _program("mariadbd", "mariadb-server", "/usr/sbin")
    install = _program("mariadb-install-db", "mariadb-server", "/usr/bin")
    folder, port = _folder("mysql"), _free_port()
    data = f"{folder}/data"
    _as("mysql", [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"])
    address = ["--bind-address=127.0.0.1", f"--port={port}", f"--socket={folder}/socket", f"--pid-file={folder}/pid"]
    _serve("mysql", [server, "--no-defaults", f"--datadir={data}", *address], folder)
    return f"mysql://root@127.0.0.1:{port}/"


def _start_redis() -> str:
    server = _program("redis-server", "redis-server", "/usr/bin")
    folder, port = _folder("redis"), _free_port()
    _serve("redis", [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder], folder)
    return f"redis://127.0.0.1:{port}/0"


def _program(name: str, package: str, folders: str) -> str:
    """Return where a program is; as root, after installing it."""
    for _ in range(2):
        found = [str(path) for path in sorted(Path("/").glob(f"{folders[1:]}/{name}"))]
        program = found[-1] if found else shutil.which(name)
        if program:
            return program
        if os.geteuid() == 0 and shutil.which("apt-get"):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", package]
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=600)
    msg = f"{name} is not installed (apt-get install {package})"
    raise RuntimeError(msg)


def _folder(user: str) -> str:
    """Return a new directory of this user's, which goes when the process ends."""
    folder = tempfile.mkdtemp(prefix=f"amocrm-{user}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if os.geteuid() == 0:
        shutil.chown(folder, user)
    return folder


def _as(user: str, command: list[str]) -> None:
    subprocess.run(_prefixed(user, command), check=True, capture_output=True, timeout=_PATIENCE, cwd="/")


def _serve(user: str, command: list[str], folder: str) -> None:
    with Path(folder, "log").open("wb") as log:
        server = subprocess.Popen(_prefixed(user, command), stdout=log, stderr=log, cwd="/")
    atexit.register(_stop, server)


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(15)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _prefixed(user: str, command: list[str]) -> list[str]:
    # The servers refuse to run as root. setpriv becomes the server itself, so that ending it ends the server.
    if os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
