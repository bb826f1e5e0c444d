"""Answers of the contract, for an adapter to hand to its framework."""

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from amocrm_userauth._wire.models import ErrorInfo, ErrorReply
from amocrm_userauth.errors import AmoCRMUserAuthError, TemporarilyUnavailable

__all__ = [
    "LOG_IN",
    "Answer",
    "envelope",
    "of_library",
    "of_refusal",
    "refusal_of_body",
    "reply",
    "retry_after",
]

_CODES = {401: "not_authenticated", 403: "forbidden", 405: "method_not_allowed", 422: "invalid_request"}
_FIRST_FAULT_OF_OURS = 500

LOG_IN = "log in to the application first"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers and a text. The text is not in the ``repr``: it may hold a state."""

    status: int
    content_type: str
    content: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


def reply(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a model of the wire as JSON that nobody stores."""
    kept = {**(headers or {}), "Cache-Control": "no-store"}
    return Answer(status, "application/json", body.model_dump_json(by_alias=True), kept)


def envelope(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an error in the contract's envelope."""
    return reply(ErrorReply(error=ErrorInfo(code=code, message=message)), status, headers)


def of_refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return the answer to what the application or the framework refused, with the code of its status."""
    return envelope(status, _CODES.get(status, "http_error"), message, headers)


def of_library(error: AmoCRMUserAuthError, log: logging.Logger) -> Answer:
    """Return the answer to one of the library's errors; what is not the client's doing is logged."""
    if error.http_status >= _FIRST_FAULT_OF_OURS:
        log.warning("answered %s: %s", error.code, error.message, extra={"user_id": error.user_id, "event": error.code})
    return envelope(error.http_status, error.code, error.message, retry_after(error))


def retry_after(error: AmoCRMUserAuthError) -> dict[str, str]:
    """Return the header that says when to try again, where that is known: whole seconds, at least one."""
    if not isinstance(error, TemporarilyUnavailable) or error.retry_after is None:
        return {}
    return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}


def refusal_of_body(faults: Iterable[str]) -> str:
    """Return the message of a 422: the places and kinds of fault, never what was sent."""
    return f"the request is not valid: {', '.join(faults)}"
