"""What ``import amocrm_userauth`` takes, in fresh interpreters, against what it cannot do without."""

import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from benchmarks.figures import Figure, Length, at_most, seconds_text

__all__ = ["run"]

_BAR = 1.5
_NEEDED = "import httpx, asyncio; from pydantic import BaseModel"


def run(length: Length) -> Iterator[Figure]:
    ours: list[float] = []
    needed: list[float] = []
    for _ in range(length.of(25, 2)):
        ours.append(_seconds("import amocrm_userauth"))
        needed.append(_seconds(_NEEDED))
    name = "import amocrm_userauth / import httpx, asyncio, pydantic"
    yield at_most(name, median(ours), median(needed), _BAR, show=seconds_text)


def _seconds(statement: str) -> float:
    program = f"import time; start = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start)"
    child = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return float(child.stdout)
