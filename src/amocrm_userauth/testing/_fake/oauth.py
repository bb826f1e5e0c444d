"""The token endpoint and the two look-ups of an account's address."""

import json
from typing import cast
from urllib.parse import parse_qsl

from amocrm_userauth.testing._fake.books import Presentation
from amocrm_userauth.testing._fake.model import Account, Pair
from amocrm_userauth.testing._fake.replies import (
    Ask,
    Reply,
    api_problem,
    json_reply,
    no_authorization_header,
    oauth_problem,
    wrong_client_2020,
)
from amocrm_userauth.testing._fake.tokens import fingerprint
from amocrm_userauth.testing._fake.world import World

__all__ = ["fields_of", "is_shared_host", "look_up_by_access", "look_up_by_refresh", "opened_with", "owner", "token"]

_SPENDS = {"authorization_code": "code", "refresh_token": "refresh_token"}


class _Refused(Exception):
    def __init__(self, reply: Reply) -> None:
        self.reply = reply


def fields_of(ask: Ask) -> dict[str, str]:
    """Return the fields of a token call, sent as JSON or as a form; ``{}`` if they cannot be read."""
    if "json" not in ask.headers.get("content-type", "").lower():
        return dict(parse_qsl(ask.body.decode(errors="replace"), keep_blank_values=True))
    try:
        value: object = json.loads(ask.body)
    except ValueError:
        return {}
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in cast("dict[str, object]", value).items() if isinstance(text, str)}


def owner(world: World, fields: dict[str, str]) -> str:
    """Return the user whose code or refresh token this is, ``""`` if nobody's."""
    pair = world.by_refresh.get(fields.get("refresh_token", ""))
    if pair is not None:
        return pair.grant.person.name
    code = world.codes.get(fields.get("code", ""))
    return "" if code is None else code.person.name


def opened_with(world: World, ask: Ask, fields: dict[str, str]) -> Presentation:
    """Write one token call into the books; its outcome is filled in later."""
    grant_type = fields.get("grant_type", "")
    spent = fields.get(_SPENDS.get(grant_type, ""), "")
    entry = Presentation(owner(world, fields), grant_type, fingerprint(spent), "failed", world.now(), host=ask.host)
    entry.request_id = ask.headers.get("x-request-id", "")
    world.books.presentations.append(entry)
    return entry


def token(world: World, ask: Ask, fields: dict[str, str]) -> Reply:
    """Answer one call of the token endpoint."""
    try:
        account = _account(world, ask)
        _check_client(world, fields)
        pair = _refresh(world, account, fields) if fields["grant_type"] == "refresh_token" else None
        return _issued(world, pair or _exchange(world, account, fields))
    except _Refused as refused:
        return refused.reply


def is_shared_host(host: str) -> bool:
    """Whether a host belongs to no account in particular, such as ``www`` or ``api-b``."""
    return host.startswith(("www.", "api-"))


def unknown_host(world: World, ask: Ask) -> Reply:
    """Return what a host answers that is no account's (any more)."""
    return api_problem(world.settings.unknown_host, ask.host, ask.path)


def _account(world: World, ask: Ask) -> Account | None:
    account = world.account_at(ask.host)
    if account is None and not is_shared_host(ask.host):
        raise _Refused(unknown_host(world, ask))
    return account


def _check_client(world: World, fields: dict[str, str]) -> None:
    client = world.clients.get(fields.get("client_id", ""))
    if client is None:
        raise _wrong_client(world, "Check the `client_id` parameter")
    if fields.get("client_secret") != client.client_secret:
        raise _wrong_client(world, "Check the `client_secret` parameter")
    if fields.get("grant_type") not in _SPENDS:
        raise _Refused(oauth_problem(400, "Check that all required parameters have been provided"))
    if fields.get("redirect_uri") != client.redirect_uri:
        raise _wrong_client(world, "Redirect URI is not associated with client")


def _wrong_client(world: World, hint: str) -> _Refused:
    return _Refused(wrong_client_2020() if world.settings.client_mismatch == "2020" else oauth_problem(400, hint))


def _exchange(world: World, account: Account | None, fields: dict[str, str]) -> Pair:
    if not fields.get("code"):
        raise _Refused(oauth_problem(400, "Check the `code` parameter"))
    code = world.codes.get(fields["code"])
    if code is None:
        raise _Refused(oauth_problem(400, "Cannot decrypt the authorization code"))
    if world.now() >= code.expires_at:
        raise _Refused(oauth_problem(400, "Authorization code has expired"))
    if code.used:
        raise _Refused(oauth_problem(400, "Authorization code has been revoked"))
    if code.client_id != fields["client_id"]:
        raise _Refused(oauth_problem(400, "Authorization code was not issued to this client"))
    if code.account is not account:
        raise _Refused(oauth_problem(400, "Invalid account"))
    return world.open_grant(code)


def _refresh(world: World, account: Account | None, fields: dict[str, str]) -> Pair:
    status = world.settings.status_style
    if not fields.get("refresh_token"):
        raise _Refused(oauth_problem(400, "Check the `refresh_token` parameter"))
    pair = world.by_refresh.get(fields["refresh_token"])
    if pair is None:
        raise _Refused(oauth_problem(status, "Cannot decrypt the refresh token"))
    if pair.grant.client_id != fields["client_id"]:
        raise _Refused(oauth_problem(status, "Token is not linked to client"))
    if pair.grant.account is not account:
        raise _Refused(oauth_problem(400, "Invalid account"))
    hint = pair.refusal(world.now())
    if hint is not None:
        world.punish_reuse(pair)
        raise _Refused(oauth_problem(status, hint))
    return world.rotate(pair)


def _issued(world: World, pair: Pair) -> Reply:
    body: dict[str, object] = {
        "token_type": "Bearer",
        "expires_in": world.settings.access_lifetime,
        "access_token": pair.access,
        "refresh_token": pair.refresh,
    }
    if world.settings.server_time:
        body["server_time"] = int(world.now())
    return json_reply(body)


def look_up_by_refresh(world: World, ask: Ask) -> Reply:
    """Answer the look-up that takes a refresh token and does not spend it."""
    if not world.settings.lookup:
        return api_problem(404, ask.host, ask.path)
    if world.account_at(ask.host) is None and not ask.host.startswith("api-"):
        return unknown_host(world, ask)
    presented = ask.headers.get("x-refresh-token")
    if presented is None:
        return no_authorization_header()
    pair = world.by_refresh.get(presented)
    hint = "Cannot decrypt the refresh token" if pair is None else pair.refusal(world.now())
    if pair is None or hint is not None:
        return oauth_problem(401, hint or "")
    return _address(pair.grant.account)


def look_up_by_access(world: World, ask: Ask) -> Reply:
    """Answer the old look-up on ``www``, which takes an access token."""
    if not ask.host.startswith("www."):
        return api_problem(404, ask.host, ask.path)
    pair = world.by_access.get(ask.bearer)
    if pair is None or world.pair_of_access(ask.bearer, pair.grant.account.host) is None:
        return api_problem(401, ask.host)
    return _address(pair.grant.account)


def _address(account: Account) -> Reply:
    top_level = account.suffix.rpartition(".")[2]
    return json_reply(
        {
            "id": account.id,
            "subdomain": account.subdomain,
            "domain": account.host,
            "top_level_domain": top_level,
        }
    )
