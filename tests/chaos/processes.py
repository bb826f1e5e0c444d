"""The processes of a run, as the orchestrator holds them."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.chaos.clocks import boot_time
from tests.chaos.journal import Journal

ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """Return the environment in which a process finds the library and these tests."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def started(module: str, given: dict[str, Any], **pipes: Any) -> "subprocess.Popen[str]":
    """Start a module of this package with its settings; it ends when its standard input does."""
    command = [sys.executable, "-m", f"tests.chaos.{module}", json.dumps(given)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, text=True, cwd=ROOT, env=environment(), **pipes)


class Worker:
    """One incarnation of one worker."""

    def __init__(self, name: str, given: dict[str, Any], journal: Journal, errors: Path) -> None:
        self.name = name
        self.up_at = math.inf
        """When it began to serve; starting can take longer than warming up."""
        self.index: int = given["index"]
        self._journal = journal
        with errors.open("ab") as file:
            self.process = started("worker", given, stderr=file)
        self._stopped = False
        self._continue_at = 0.0
        self._armed: dict[int, tuple[float, float]] = {}
        self.rested = False

    @property
    def is_free(self) -> bool:
        """Whether it runs, and nothing waits for it."""
        return self.process.poll() is None and not self._stopped and not self._armed

    def order(self, **order: Any) -> None:
        """Send an order; one that died takes none."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        except OSError:
            return

    def kill(self) -> None:
        self._journal.write("killed", on=self.name)
        self.process.kill()

    def stop(self, seconds: float) -> None:
        """Stop it for some real seconds."""
        self._journal.write("stopped", on=self.name)
        self.process.send_signal(signal.SIGSTOP)
        self._stopped, self._continue_at = True, boot_time() + seconds

    def arm(self, order: dict[str, Any], seconds: float, patience: float) -> None:
        """Let it stop or kill itself at a point, if it comes there within ``patience`` real seconds."""
        self._armed[order["number"]] = (boot_time() + patience, seconds)
        self.order(**order)

    def tend(self) -> None:
        """Notice that it stopped itself, and let it go on when its time has come."""
        if self.process.poll() is not None:
            return
        now = boot_time()
        if not self._stopped and self._armed and _state(self.process.pid) == "T":
            seconds = max(length for _, length in self._armed.values())
            self._armed.clear()
            self._stopped, self._continue_at = True, now + seconds
        if self._stopped and now >= self._continue_at:
            self.go_on()
        for number, (until, _) in list(self._armed.items()):
            if now > until:
                self.order(do="disarm", number=number)
                del self._armed[number]

    def go_on(self) -> None:
        """End every stop and every order."""
        if self.process.poll() is not None:
            return
        for number in self._armed:
            self.order(do="disarm", number=number)
        self._armed.clear()
        self.process.send_signal(signal.SIGCONT)
        if self._stopped:
            self._journal.write("continued", on=self.name)
        self._stopped = False

    def end(self) -> None:
        """Kill it if it is still there, and free its pipe."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except OSError:
            return


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
