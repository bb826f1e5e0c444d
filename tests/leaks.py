"""What a renderer of tracebacks would show of our frames: their local variables, expanded."""

import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import rich.pretty

import amocrm_userauth

__all__ = ["assert_nothing_shows", "shown"]

_OURS = Path(amocrm_userauth.__file__).parent
_NOT_OURS = _OURS / "testing"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _frames(error: BaseException) -> Iterator[FrameType]:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_OURS) and not path.is_relative_to(_NOT_OURS):
            yield frame


def shown(error: BaseException) -> str:
    """Return everything that a rendered traceback shows of our frames, and all the texts of the chain."""
    lines: list[str] = []
    for one in _chain(error):
        lines += [repr(one), str(one), repr(one.args), repr(vars(one))]
        for frame in _frames(one):
            for name, value in frame.f_locals.items():
                lines.append(f"{frame.f_code.co_qualname}: {name} = {value!r}")
                lines.append(rich.pretty.pretty_repr(value, max_length=None, max_string=None))
    return "\n".join(lines)


def assert_nothing_shows(error: BaseException, secrets: dict[str, str]) -> None:
    """Assert that no secret is in what is shown, and that nothing of another library is chained."""
    text = shown(error)
    for name, secret in secrets.items():
        where = [line[:200] for line in text.splitlines() if secret in line]
        assert not where, f"{name} shows in {where}"
    for one in _chain(error):
        assert one is error or (one is error.__context__ is not None and error.__suppress_context__), (
            f"chained: {one!r}"
        )
