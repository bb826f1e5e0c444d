"""The few API methods that an application needs to see whose token it has."""

import json
import time
from collections import defaultdict, deque
from typing import cast

from amocrm_userauth.testing._fake.model import Grant
from amocrm_userauth.testing._fake.oauth import is_shared_host, unknown_host
from amocrm_userauth.testing._fake.replies import Ask, Reply, api_problem, json_reply
from amocrm_userauth.testing._fake.world import World

__all__ = ["API"]

_HAL = "application/hal+json"
_PAGE = 50
_MAX_PAGE = 250
_FIRST_LEAD = 19_000_001

Json = dict[str, object]


class API:
    """The API of one world: account, user, and leads that each user sees only as far as they made them."""

    def __init__(self, world: World) -> None:
        """Start with two leads for each user, made when they are first looked at."""
        self._world = world
        self._leads: dict[tuple[str, int], list[Json]] = {}
        self._next_lead = _FIRST_LEAD
        self._calls: defaultdict[str, deque[float]] = defaultdict(deque)

    def too_many(self, integration: str) -> bool:
        """Count one call of an integration, and say whether it is over the limit of this second of real time."""
        limit = self._world.settings.rate_limit
        calls = self._calls[integration]
        now = time.monotonic()
        while calls and now - calls[0] >= 1:
            calls.popleft()
        if limit is None or len(calls) < limit:
            calls.append(now)
            return False
        return True

    def answer(self, ask: Ask) -> Reply:
        """Answer one API call."""
        world = self._world
        if world.account_at(ask.host) is None and not (is_shared_host(ask.host) and ask.host.startswith("api-")):
            return unknown_host(world, ask)
        known = world.by_access.get(ask.bearer)
        if self.too_many(known.grant.client_id if known else ask.host):
            return api_problem(429, retry_after=1)
        pair = world.pair_of_access(ask.bearer, ask.host)
        if pair is None:
            return api_problem(401, ask.host)
        return self._method(ask, pair.grant)

    def _method(self, ask: Ask, grant: Grant) -> Reply:
        match ask.method, ask.path.rstrip("/"):
            case "GET", "/api/v4/account":
                return json_reply(_account(grant), content_type=_HAL)
            case "GET", "/v3/user":
                return json_reply(_user(grant))
            case "GET", "/api/v4/leads":
                return self._list(ask, grant)
            case "POST", "/api/v4/leads":
                return self._create(ask, grant)
            case _:
                return api_problem(404, ask.host, ask.path)

    def _of(self, grant: Grant) -> list[Json]:
        key = (grant.person.name, grant.account.id)
        if key not in self._leads:
            self._leads[key] = []
            for number in (1, 2):
                self._add(grant, {"name": f"Example lead {number} of {grant.person.name}", "price": 1000 * number})
        return self._leads[key]

    def _list(self, ask: Ask, grant: Grant) -> Reply:
        leads = self._of(grant)
        limit = min(_number(ask.query.get("limit"), _PAGE), _MAX_PAGE)
        page = _number(ask.query.get("page"), 1)
        part = leads[(page - 1) * limit : page * limit]
        if not part:
            return Reply(204)
        at = f"https://{grant.account.host}/api/v4/leads?limit={limit}&page="
        links: Json = {"self": {"href": f"{at}{page}"}}
        if len(leads) > page * limit:
            links["next"] = {"href": f"{at}{page + 1}"}
        return json_reply({"_page": page, "_links": links, "_embedded": {"leads": part}}, content_type=_HAL)

    def _create(self, ask: Ask, grant: Grant) -> Reply:
        wanted = _list_of_objects(ask.body)
        if not wanted:
            return api_problem(400)
        self._of(grant)
        made = [self._add(grant, lead) for lead in wanted]
        briefly = [
            {"id": lead["id"], "request_id": str(wish.get("request_id", index)), "_links": lead["_links"]}
            for index, (lead, wish) in enumerate(zip(made, wanted, strict=True))
        ]
        at = f"https://{grant.account.host}/api/v4/leads"
        return json_reply({"_links": {"self": {"href": at}}, "_embedded": {"leads": briefly}}, content_type=_HAL)

    def _add(self, grant: Grant, wish: Json) -> Json:
        now, person, account = int(self._world.now()), grant.person, grant.account
        lead: Json = {
            "id": self._next_lead,
            "name": wish.get("name") or f"Lead #{self._next_lead}",
            "price": wish.get("price") or 0,
            "responsible_user_id": person.id,
            "group_id": 0,
            "status_id": 142,
            "pipeline_id": 1,
            "loss_reason_id": None,
            "created_by": person.id,
            "updated_by": person.id,
            "created_at": now,
            "updated_at": now,
            "closed_at": None,
            "is_deleted": False,
            "account_id": account.id,
            "_links": {"self": {"href": f"https://{account.host}/api/v4/leads/{self._next_lead}"}},
            "_embedded": {"tags": [], "companies": []},
        }
        self._next_lead += 1
        self._leads[(person.name, account.id)].append(lead)
        return lead


def _account(grant: Grant) -> Json:
    account = grant.account
    return {
        "id": account.id,
        "name": f"{account.subdomain} company",
        "subdomain": account.subdomain,
        "current_user_id": grant.person.id,
        "country": "RU" if account.suffix == "amocrm.ru" else "US",
        "currency": "RUB" if account.suffix == "amocrm.ru" else "USD",
        "_links": {"self": {"href": f"https://{account.host}/api/v4/account"}},
    }


def _user(grant: Grant) -> Json:
    person = grant.person
    return {
        "id": person.id,
        "name": person.name,
        "last_name": "",
        "full_name": person.name,
        "email": f"user{person.id}@example.com",
        "_links": {"self": {"href": f"https://{grant.account.host}/v3/users/{person.id}/"}},
    }


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and int(text) else default


def _list_of_objects(body: bytes) -> list[Json]:
    try:
        value: object = json.loads(body)
    except ValueError:
        return []
    items = cast("list[object]", value) if isinstance(value, list) else []
    objects = [cast("Json", item) for item in items if isinstance(item, dict)]
    return objects if len(objects) == len(items) else []
