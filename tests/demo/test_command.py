"""The command line as its user meets it: in a process of its own."""

import os
import re
import resource
import signal
import subprocess
import sys
import time

import httpx
import pytest
from cryptography.fernet import Fernet

from amocrm_userauth import cli
from amocrm_userauth.cli import _demo
from amocrm_userauth.demo import TourFailed
from tests.demo.watch import SECRET

PATIENCE = 120
COMMAND = [sys.executable, "-c", "from amocrm_userauth.cli import main; main()"]


def start(tmp_path, *arguments, **environment):
    """Start the command with its temporary folders under ``tmp_path``."""
    hidden = {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=kept | {"TMPDIR": str(tmp_path), "PYTHONUTF8": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def address_of(process):
    """Return the printed address: a line of its own."""
    for line in process.stdout:
        if line.startswith("http://127.0.0.1:"):
            return line.strip()
    raise AssertionError(process.stderr.read())


def stop(process, number=signal.SIGINT):
    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, output, errors


def test_once(tmp_path):
    """``demo --once`` takes the tour in well under 30 seconds, ticks each step, and shows no secret."""
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = start(tmp_path, "demo", "--once")
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor's time: how long the machine does other things meanwhile is not ours to test.
    assert ended.ru_utime - began.ru_utime < 15
    assert output.count("✓") == 13
    assert not SECRET.search(output)
    assert list(tmp_path.iterdir()) == []


def test_once_where_the_terminal_knows_no_ticks(tmp_path):
    """In a terminal of another age the steps are marked in ASCII."""
    process = start(tmp_path, "demo", "--once", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert output.count("ok:") == 13


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_stopped(tmp_path, number):
    """``demo --no-open`` prints the address, serves the page, and on Ctrl-C is gone without a trace."""
    process = start(tmp_path, "demo", "--no-open")
    address = address_of(process)
    page = httpx.get(address, trust_env=False)
    assert "amocrm_userauth" in page.text
    for path in re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text):
        assert httpx.get(address + path[1:], trust_env=False).status_code == 200
    status, output, errors = stop(process, number)
    assert (status, errors) == (0, "")
    assert "Stopped." in output
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(address, trust_env=False)


def test_a_display_gets_a_browser(tmp_path):
    """Where there is a display the address is opened."""
    program, seen = tmp_path / "browser", tmp_path / "seen"
    program.write_text(f'#!/bin/sh\necho "$1" > {seen}.part\nmv {seen}.part {seen}\n')
    program.chmod(0o755)
    process = start(tmp_path, "demo", DISPLAY=":0", BROWSER=f"{program} %s")
    address = address_of(process)
    deadline = time.monotonic() + PATIENCE
    while not seen.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stop(process)[0] == 0
    assert seen.read_text().strip() == address


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("darwin", {}, True),
        ("linux", {}, False),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
    ],
)
def test_where_there_is_a_display(monkeypatch, platform, environment, expected):
    """macOS and Windows have one; elsewhere the environment says."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert _demo._has_display() is expected


def test_a_failed_tour_is_said(monkeypatch, capsys):
    """A step that fails is printed, and the status is 1."""

    def broken(_demo):
        yield "the first step"
        raise TourFailed("the second step: refreshes should be 1, but is 2")

    monkeypatch.setattr("amocrm_userauth.demo.tour", broken)
    assert _demo.once() == 1
    captured = capsys.readouterr()
    assert "the first step" in captured.out
    assert "refreshes should be 1, but is 2" in captured.err


def test_a_new_key_is_a_key(tmp_path):
    """``keys new`` prints one key that encrypts."""
    output, errors = start(tmp_path, "keys", "new").communicate(timeout=PATIENCE)
    assert errors == ""
    assert Fernet(output.strip()).decrypt(Fernet(output.strip()).encrypt(b"example")) == b"example"


def forget(monkeypatch, *names):
    """Let modules be imported anew."""
    for name in [name for name in sys.modules if name.startswith(names)]:
        monkeypatch.delitem(sys.modules, name)


def test_without_the_extra_cli(monkeypatch):
    """Without typer the command says what to install."""
    forget(monkeypatch, "amocrm_userauth.cli._app")
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match=r"pip install 'amocrm_userauth\[cli\]'"):
        cli.main()


def test_another_missing_module_is_not_hidden(monkeypatch):
    """A defect of ours is not taken for a missing extra."""
    forget(monkeypatch, "amocrm_userauth.cli._app")
    monkeypatch.setitem(sys.modules, "amocrm_userauth.cli._demo", None)
    monkeypatch.delattr(cli, "_demo")
    with pytest.raises(ModuleNotFoundError):
        cli.main()


@pytest.mark.parametrize("arguments", [["demo"], ["demo", "--once"]])
def test_without_the_extra_demo(monkeypatch, capsys, arguments):
    """Without the demo's packages the command says what to install."""
    forget(monkeypatch, "amocrm_userauth.demo")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setattr(sys, "argv", ["amocrm-userauth", *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 1
    assert "uvicorn is missing" in capsys.readouterr().err


def test_a_defect_of_the_demo_is_not_hidden(monkeypatch):
    """A module of ours that is missing is no missing extra."""
    forget(monkeypatch, "amocrm_userauth.demo")
    monkeypatch.setitem(sys.modules, "amocrm_userauth.demo._row", None)
    with pytest.raises(ModuleNotFoundError):
        _demo.once()


def test_keys_without_the_extra_crypto(monkeypatch, capsys):
    """Without cryptography ``keys new`` says what to install."""
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    monkeypatch.setattr(sys, "argv", ["amocrm-userauth", "keys", "new"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 1
    assert "amocrm_userauth[crypto]" in capsys.readouterr().err
