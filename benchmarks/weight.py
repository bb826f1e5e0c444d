"""What an application gets along with the library: only what it names, and what that needs."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.figures import Figure, Length, bytes_text, exactly

__all__ = ["run"]

_WANTED = "httpx, pydantic, typing-extensions"


def run(length: Length) -> Iterator[Figure]:
    del length
    yield exactly("core dependencies", ", ".join(sorted(_needs("amocrm_userauth"))), _WANTED)
    everything = _closure("amocrm_userauth") - {"amocrm-userauth"}
    size = bytes_text(sum(_size(name) for name in everything))
    yield Figure(
        name="packages installed by them",
        ours=f"{len(everything)} ({size})",
        baseline="-",
        ratio=None,
        bar="-",
        ok=True,
        timed=False,
    )


def _needs(name: str) -> set[str]:
    try:
        needs = [Requirement(text) for text in distribution(name).requires or []]
    except PackageNotFoundError:
        return set()
    return {
        canonicalize_name(need.name) for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})
    }


def _closure(name: str) -> set[str]:
    seen: set[str] = set()
    waiting = {canonicalize_name(name)}
    while waiting:
        here = waiting.pop()
        seen.add(here)
        waiting |= _needs(here) - seen
    return seen


def _size(name: str) -> int:
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return 0
    return sum(file.size or 0 for file in files)
