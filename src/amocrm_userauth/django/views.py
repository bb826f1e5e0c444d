"""The five endpoints. :mod:`amocrm_userauth.django.urls` has their addresses."""

from urllib.parse import parse_qsl

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, QueryDict
from pydantic import ValidationError

from amocrm_userauth._wire.answers import Answer, refusal_of_body, reply
from amocrm_userauth._wire.bodies import NOT_JSON, faults, is_json
from amocrm_userauth._wire.models import STATE_TTL, AuthorizeUrl, AuthorizeUrlReply, Done, ExchangeCode, StatusReply
from amocrm_userauth._wire.pages import checked_deep_link, error_page, redirect, target
from amocrm_userauth.django._answers import endpoint
from amocrm_userauth.django._callers import Caller, caller_of, forbid_forgery
from amocrm_userauth.django._refusals import RequestRefused
from amocrm_userauth.django._service import user_auth
from amocrm_userauth.django._settings import Options
from amocrm_userauth.errors import AmoCRMUserAuthError

__all__ = ["authorize_url", "callback", "disconnect", "exchange_code", "status"]


@endpoint("GET")
def status(request: HttpRequest) -> Answer:
    """Say whether the logged-in user is connected. Never calls amoCRM."""
    caller = _guarded(request)
    return reply(StatusReply.of(caller.service.status(caller.user)))


@endpoint("GET")
def authorize_url(request: HttpRequest) -> Answer:
    """Return amoCRM's consent page for the logged-in user; open it in the system browser."""
    caller = _guarded(request)
    begun = caller.service.begin(caller.user)
    return reply(AuthorizeUrlReply(data=AuthorizeUrl(url=begun.url, state=begun.state, expires_in=STATE_TTL)))


@endpoint("POST")
def exchange_code(request: HttpRequest) -> Answer:
    """Connect the logged-in user with the code that amoCRM gave. Repeating the same request is harmless."""
    caller = _guarded(request)
    body = _exchange_code(request)
    caller.service.connect(caller.user, code=body.code, state=body.state or None, referer=body.referer or None)
    return reply(Done(message="AMO CRM successfully connected"))


@endpoint("POST")
def disconnect(request: HttpRequest) -> Answer:
    """Forget the logged-in user's tokens. Succeeds also if there were none."""
    caller = _guarded(request)
    caller.service.disconnect(caller.user)
    return reply(Done(message="AMO CRM disconnected"))


@endpoint("GET")
def callback(request: HttpRequest) -> Answer:
    """Take amoCRM's redirect (no login: a browser comes here) and pass it on to the app's deep link."""
    query = _taken_query(request)  # first: a page or a mail about an error shows it
    deep_link: str | None = Options.read().value("DEEP_LINK")
    if not deep_link:
        msg = "AMOCRM_USERAUTH['DEEP_LINK'] is not set"
        raise Http404(msg)
    try:
        answer = user_auth().accept_callback(query)
        return redirect(target(checked_deep_link(deep_link), answer))
    except AmoCRMUserAuthError as error:
        return error_page(error)


def _guarded(request: HttpRequest) -> Caller:
    caller = caller_of(request)
    forbid_forgery(request)
    return caller


def _exchange_code(request: HttpRequest) -> ExchangeCode:
    if not is_json(request.headers.get("Content-Type", "")):
        raise _invalid([NOT_JSON])
    try:
        return ExchangeCode.model_validate_json(request.body)
    except ValidationError as error:
        found = faults(error)
    except RequestDataTooBig:
        found = ["body (too_long)"]
    raise _invalid(found)


def _invalid(found: list[str]) -> RequestRefused:
    return RequestRefused(422, refusal_of_body(found))


def _taken_query(request: HttpRequest) -> list[tuple[str, str]]:
    """Return the query's parameters in order, and take them out of the request.

    Access logs and error reports, which look at the request afterwards, need not have the code.
    """
    taken = parse_qsl(request.META.get("QUERY_STRING", ""), keep_blank_values=True)
    request.GET = QueryDict()
    request.META["QUERY_STRING"] = ""
    for name in ("RAW_URI", "REQUEST_URI"):  # gunicorn's and uWSGI's
        if name in request.META:
            request.META[name] = request.META[name].partition("?")[0]
    scope: dict[str, object] | None = getattr(request, "scope", None)
    if scope is not None:
        scope["query_string"] = b""
    return taken
