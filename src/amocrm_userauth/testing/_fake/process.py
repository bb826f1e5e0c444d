"""A fake amoCRM in a process of its own: ``python -m amocrm_userauth.testing._fake.process``.

It takes its settings as JSON in the first argument, prints its two addresses as JSON, and ends when its standard
input does: a parent that dies takes it along.
"""

import json
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from amocrm_userauth.testing._fake.control import Remote
from amocrm_userauth.testing._fake.settings import Settings

__all__ = ["Process", "main"]

_PATIENCE = 10


class Process:
    """A child process that serves one fake."""

    def __init__(self, settings: Settings) -> None:
        """Start it and wait until it accepts connections."""
        arguments = [sys.executable, "-m", __name__, json.dumps(asdict(settings))]
        self._child = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
        line = self._child.stdout.readline() if self._child.stdout else ""
        if not line:
            self.stop()
            msg = "the fake amoCRM did not start; see the error output above"
            raise RuntimeError(msg)
        self.remote = Remote(json.loads(line)["control_url"])

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def stop(self) -> None:
        """End the child and wait for it."""
        try:
            self._child.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()


def main(arguments: list[str]) -> None:
    """Serve until standard input ends."""
    from amocrm_userauth.testing._fake.server import Server  # noqa: PLC0415 - the parent does not need it
    from amocrm_userauth.testing._fake.world import World  # noqa: PLC0415

    given: dict[str, Any] = json.loads(arguments[0])
    given["without_claims"] = tuple(given["without_claims"])
    server = Server(World(Settings(**given)))
    sys.stdout.write(json.dumps({"url": server.url, "control_url": server.control_url}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
