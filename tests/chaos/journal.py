"""What each process writes down: one JSON line per event, straight to its file, so that SIGKILL loses nothing."""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.chaos.clocks import Clock

Record = dict[str, Any]


class Journal:
    """One process's journal. Safe to use from any thread: a line is one ``write``."""

    def __init__(self, path: Path, clock: Clock, who: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._clock = clock
        self.who = who
        self._numbers = itertools.count(1)

    def close(self) -> None:
        os.close(self._file)

    def number(self) -> str:
        """Return a name for one call or request, unique in the run."""
        return f"{self.who}-{next(self._numbers)}"

    def write(self, kind: str, /, **fields: Any) -> float:
        """Write one event and return its time."""
        now = self._clock.now()
        line = json.dumps({"t": round(now, 3), "w": self.who, "k": kind, **fields}, separators=(",", ":"))
        os.write(self._file, line.encode() + b"\n")
        return now


class Reader:
    """Reads what is new in every journal of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[Path, int] = {}

    def new(self) -> Iterator[Record]:
        """Yield the records written since the last call; half a line waits for its other half."""
        for path in sorted(self._folder.glob("*.journal")):
            place = self._places.get(path, 0)
            with path.open("rb") as file:
                file.seek(place)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._places[path] = place + len(whole)
            for line in whole.splitlines():
                yield json.loads(line)
