"""The command ``demo``."""

import logging
import os
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from amocrm_userauth.demo import Demo

__all__ = ["once", "play"]

_MISSING = "amocrm-userauth: the demo needs more packages ({name} is missing): pip install 'amocrm_userauth[demo]'"


def play(*, open_browser: bool) -> int:
    """Serve the demonstration until Ctrl-C; return the exit status."""
    make = _maker()
    if make is None:
        return 1
    with _stop_signal() as stopped, make() as demo:
        typer.echo("The demo is running on this machine only. Open this address:\n")
        typer.echo(demo.url)
        typer.echo("\nPress Ctrl-C to stop.")
        sys.stdout.flush()
        if open_browser and _has_display():
            webbrowser.open(demo.url)
        while not stopped.is_set():
            stopped.wait(0.5)
    typer.echo("Stopped.")
    return 0


def once() -> int:
    """Take the tour without a browser; return 0 if every step came out right."""
    make = _maker()
    if make is None:
        return 1
    from amocrm_userauth.demo import TourFailed, tour  # noqa: PLC0415 - an extra

    tick, cross = _marks()
    began, steps = time.monotonic(), 0
    with make() as demo:
        typer.echo("A backend and a fake amoCRM on this machine:")
        try:
            for step in tour(demo):
                typer.secho(f"  {tick} {step}", fg=typer.colors.GREEN)
                steps += 1
        except TourFailed as failure:
            typer.secho(f"  {cross} {failure}", fg=typer.colors.RED, err=True)
            return 1
    typer.echo(f"{steps} steps in {time.monotonic() - began:.1f} s")
    return 0


def _maker() -> "Callable[[], Demo] | None":
    try:
        from amocrm_userauth.demo import Demo  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("amocrm_userauth"):
            raise
        typer.echo(_MISSING.format(name=error.name), err=True)
        return None
    # What the library warns of is part of the show, and is on the page.
    logging.getLogger("amocrm_userauth").addHandler(logging.NullHandler())
    return Demo


def _marks() -> tuple[str, str]:
    try:
        "✓✗".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "ok:", "FAILED:"
    return "✓", "✗"


def _has_display() -> bool:
    if sys.platform in {"darwin", "win32"}:
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextmanager
def _stop_signal() -> Generator[threading.Event]:
    """Turn Ctrl-C and a polite kill into an event, also where a shell has switched Ctrl-C off for background jobs."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
