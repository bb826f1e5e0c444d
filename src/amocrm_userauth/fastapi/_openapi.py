"""What the OpenAPI document says beyond what FastAPI finds out by itself."""

from collections.abc import Iterable
from typing import Any

from amocrm_userauth import errors
from amocrm_userauth._wire.models import MAX_CODE, MAX_REFERER, MAX_STATE, ErrorReply, ExchangeCode

__all__ = ["BEGIN", "CALLBACK", "CALLBACK_EXTRA", "CONNECT", "CONNECT_EXTRA", "DISCONNECT", "STATUS"]

_Responses = dict[int | str, dict[str, Any]]
_Kinds = Iterable[type[errors.AmoCRMUserAuthError]]

_OF_THE_APPLICATION = {
    401: ("Nobody is logged in", "not_authenticated", "log in to the application first"),
    403: ("The application refuses this user", "forbidden", "Forbidden"),
    422: ("The request is malformed", "invalid_request", "the request is not valid: body.code (missing)"),
}
_MEANINGS = {
    400: "The connection was not made: start anew with `authorize-url`",
    500: "A developer's job, or the database's",
    502: "amoCRM answered something that is not understood",
    503: "The same call may work later; `Retry-After` says when, where that is known",
}


def _example(code: str, message: str) -> dict[str, object]:
    return {"value": {"success": False, "error": {"code": code, "message": message}}}


def _json(description: str, examples: dict[str, dict[str, object]]) -> dict[str, Any]:
    return {"model": ErrorReply, "description": description, "content": {"application/json": {"examples": examples}}}


def _responses(*kinds: type[errors.AmoCRMUserAuthError]) -> _Responses:
    found: _Responses = {
        status: _json(description, {code: _example(code, message)})
        for status, (description, code, message) in _OF_THE_APPLICATION.items()
    }
    for status in sorted({kind.http_status for kind in kinds}):
        of_status = [kind for kind in kinds if kind.http_status == status]
        examples = {kind.code: _example(kind.code, kind.default_message) for kind in of_status}
        found[status] = _json(_MEANINGS[status], examples)
    return found


STATUS = BEGIN = DISCONNECT = _responses(errors.ConfigurationError, errors.StoreUnavailable)
CONNECT = _responses(
    errors.InvalidState,
    errors.InvalidCode,
    errors.UntrustedHost,
    errors.WrongAccount,
    errors.AlreadyConnectedByAnother,
    errors.ConfigurationError,
    errors.TokenNotSaved,
    errors.ProtocolError,
    errors.AmoCRMUnavailable,
    errors.RefreshInProgress,
    errors.StoreUnavailable,
)
CONNECT_EXTRA: dict[str, Any] = {
    # FastAPI does not read this body itself: its frames would show the code in a traceback with locals.
    "requestBody": {"required": True, "content": {"application/json": {"schema": ExchangeCode.model_json_schema()}}}
}


def _page(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"text/html": {"schema": {"type": "string"}}}}


def _query(name: str, limit: int, description: str, example: str) -> dict[str, Any]:
    schema = {"type": "string", "maxLength": limit}
    return {"name": name, "in": "query", "schema": schema, "description": description, "example": example}


CALLBACK: _Responses = {
    302: {
        **_page("To the app's deep link with `code`, `state` and `referer`, or with `error=access_denied` and `state`"),
        "headers": {"Location": {"schema": {"type": "string"}, "description": "The configured deep link"}},
    },
    400: _page("The answer does not belong to a connection that was begun here: a page, no redirect"),
    500: _page("A developer's job: the service is not configured"),
    503: _page("The answer could not be recorded; the same address may work later"),
}
CALLBACK_EXTRA: dict[str, Any] = {
    "parameters": [
        _query("code", MAX_CODE, "The authorization code", "def50200example"),
        _query("state", MAX_STATE, "The state of `authorize-url`", "example-state"),
        _query("referer", MAX_REFERER, "The account's host", "example.amocrm.ru"),
        _query("client_id", 255, "The integration's id", "example-client-id"),
        _query("error", 255, "`access_denied`: the user refused", "access_denied"),
    ]
}
