"""Lets mkdocs read our docstrings, which are plain text with two marks of reStructuredText.

``:class:`~package.Name``` becomes code, and a ``::`` before an indented block goes, since Markdown needs none.
"""

import re
from typing import Any

import griffe

__all__ = ["PlainDocstrings"]

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`~?([^`]+)`")
LITERAL_BLOCK = re.compile(r"^([ ]*)(.*?)::$(?=\n\n)", re.MULTILINE)


def to_markdown(text: str) -> str:
    """Return ``text`` as Markdown."""
    text = ROLE.sub(lambda match: f"`{match[1].removeprefix('amocrm_userauth.')}`", text)
    return LITERAL_BLOCK.sub(lambda match: f"{match[1]}{match[2]}:" if match[2] else match[1], text)


class PlainDocstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
