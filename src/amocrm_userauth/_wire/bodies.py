"""Reads the one body that the contract has.

The body itself is handed straight from the framework to pydantic: as a local variable, a rendered traceback would show
the code.
"""

from email.message import Message

from pydantic import ValidationError

__all__ = ["NOT_JSON", "faults", "is_json"]

NOT_JSON = "header.content-type (json_expected)"


def faults(error: ValidationError) -> list[str]:
    """Return what is wrong with a body: where and of what kind, without what was sent."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [".".join(("body", *map(str, fault["loc"]))) + f" ({fault['type']})" for fault in found]


def is_json(content_type: str) -> bool:
    """Say whether a ``Content-Type`` is JSON's.

    Required, not guessed: without it a page of another site could post here with the user's cookies.
    """
    header = Message()
    header["Content-Type"] = content_type
    kind = header.get_content_type()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
