"""What a test can do to a fake amoCRM and ask of it, with arguments and results that fit into JSON."""

import hashlib
import hmac
from dataclasses import asdict
from typing import Any

from amocrm_userauth.testing._fake.consent import redirect_of
from amocrm_userauth.testing._fake.faults import Fault, HeldRequest
from amocrm_userauth.testing._fake.model import Client, Pair
from amocrm_userauth.testing._fake.tokens import fingerprint
from amocrm_userauth.testing._fake.world import World

__all__ = ["Verbs"]

_DEFAULT_KIND = {403: "html", 502: "html", 503: "html", 504: "html"}

Json = dict[str, Any]


class Verbs:
    """The control surface of one world. :class:`~amocrm_userauth.testing.FakeAmoCRM` documents each verb."""

    def __init__(self, world: World) -> None:
        """Control ``world``."""
        self._world = world
        self._held: dict[int, HeldRequest] = {}

    def run(self, verb: str, arguments: Json) -> Any:
        """Run one verb by its name, under the world's lock."""
        if verb.startswith("_") or verb == "run":
            raise AttributeError(verb)
        with self._world.lock:
            return getattr(self, verb)(**arguments)

    def register(self, client_id: str, client_secret: str, redirect_uri: str, suffix: str) -> None:
        self._world.clients.pop(client_id, None)
        self._world.clients[client_id] = Client(client_id, client_secret, redirect_uri, suffix)
        self._world.account("example", suffix)

    def is_registered(self) -> bool:
        return bool(self._world.clients)

    def consent(self, user: str, account: str, state: str | None, client_id: str | None, allow: bool) -> Json:  # noqa: FBT001 - by name, over the wire
        clients = self._world.clients
        client = clients[client_id] if client_id else next(reversed(clients.values()))
        return redirect_of(self._world, client, user, account, state, allowed=allow)

    def account(self, user: str) -> Json:
        account = self._world.person(user).account
        return {
            "id": account.id,
            "subdomain": account.subdomain,
            "host": account.host,
            "api_domain": account.api_domain,
        }

    def user_id(self, user: str) -> int:
        return self._world.person(user).id

    def hook(self, user: str) -> Json:
        client = next(reversed(self._world.clients.values()))
        account = self._world.person(user).account
        message = f"{client.client_id}|{account.id}".encode()
        signature = hmac.new(client.client_secret.encode(), message, hashlib.sha256).hexdigest()
        return {"client_uuid": client.client_id, "account_id": str(account.id), "signature": signature}

    def expire(self, user: str) -> None:
        for pair in self._pairs(user):
            pair.end_access(self._world.now())

    def expire_refresh(self, user: str) -> None:
        for pair in self._pairs(user):
            pair.refresh_expires_at = min(pair.refresh_expires_at, self._world.now())

    def revoke(self, user: str) -> None:
        for grant in self._world.grants_of(user):
            grant.kill(self._world.now())

    def disable(self, user: str) -> None:
        account = self._world.person(user).account
        clients = {grant.client_id for grant in self._world.grants_of(user, account.host)}
        for grant in self._world.grants:
            if grant.account is account and grant.client_id in clients:
                grant.kill(self._world.now())

    def set_active(self, user: str, active: bool) -> None:  # noqa: FBT001 - by name, over the wire
        self._world.person(user).active = active

    def rename_account(self, user: str, subdomain: str) -> str:
        account = self._world.person(user).account
        if self._world.account_at(f"{subdomain.lower()}.{account.suffix}") not in {None, account}:
            msg = f"the subdomain {subdomain!r} is taken"
            raise ValueError(msg)
        account.subdomain = subdomain.lower()
        return account.host

    def advance(self, seconds: float) -> None:
        self._world.advance(seconds)

    def now(self) -> float:
        return self._world.now()

    def fail(self, user: str | None, kind: str | None, body: str | None, **more: Any) -> None:
        kind = kind or _DEFAULT_KIND.get(more["status"], "json")
        headers = tuple((name, value) for name, value in more.pop("headers"))
        self._world.faults.add(Fault(kind, user, body=None if body is None else body.encode(), headers=headers, **more))

    def hold(self, user: str | None, on: str, at: str) -> int:
        held = HeldRequest()
        self._held[number := len(self._held)] = held
        self._world.faults.add(Fault("pause", user, on, at, hold=held))
        return number

    def held(self, number: int) -> HeldRequest:
        return self._held[number]

    def has_arrived(self, number: int) -> bool:
        return self._held[number].arrived.is_set()

    def release(self, number: int, drop: bool) -> None:  # noqa: FBT001 - by name, over the wire
        self._held[number].release(drop=drop)

    def clear_faults(self) -> None:
        self._world.faults.clear()

    def down(self, status: int | None) -> None:
        self._world.refusing = status is None
        self._world.outage_status = status

    def up(self) -> None:
        self._world.refusing = False
        self._world.outage_status = None

    def presentations(self, user: str | None, grant_type: str | None) -> list[Json]:
        return [asdict(seen) for seen in self._world.books.of(user, grant_type)]

    def ledger(self) -> list[Json]:
        numbers = {id(grant): number for number, grant in enumerate(self._world.grants)}
        return [_entry(pair, numbers[id(pair.grant)]) for pair in self._world.by_refresh.values()]

    def requests(self) -> list[Json]:
        return [asdict(entry) for entry in self._world.books.requests]

    def accepts(self, refresh_token: str, user: str | None) -> bool:
        pair = self._world.by_refresh.get(refresh_token)
        if pair is None or user not in {None, pair.grant.person.name}:
            return False
        return pair.refusal(self._world.now()) is None

    def same_pair(self, refresh_token: str, access_token: str) -> bool:
        return self._world.by_refresh.get(refresh_token) is self._world.by_access.get(access_token)

    def access_is_good(self, access_token: str) -> bool:
        pair = self._world.by_access.get(access_token)
        return (
            pair is not None
            and not pair.access_dead
            and pair.grant.person.active
            and self._world.now() < pair.access_expires_at
        )

    def alive_pair(self, user: str) -> Json | None:
        alive = [pair for pair in self._pairs(user) if pair.refusal(self._world.now()) is None]
        return _seen(alive[-1]) if alive else None

    def pairs(self, user: str) -> list[Json]:
        return [_seen(pair) for pair in self._pairs(user)]

    def _pairs(self, user: str) -> list[Pair]:
        return [pair for grant in self._world.grants_of(user) for pair in grant.pairs]


def _entry(pair: Pair, grant: int) -> Json:
    return {
        "user": pair.grant.person.name,
        "grant": grant,
        "fingerprint": fingerprint(pair.refresh),
        "access_fingerprint": fingerprint(pair.access),
        "parent": "" if pair.parent is None else fingerprint(pair.parent.refresh),
        "issued_at": pair.issued_at,
        "expires_at": pair.access_expires_at,
        "ended_at": pair.ended_at,
        "state": pair.state,
    }


def _seen(pair: Pair) -> Json:
    return {
        "access_token": pair.access,
        "refresh_token": pair.refresh,
        "fingerprint": fingerprint(pair.refresh),
        "state": pair.state,
        "expires_at": pair.access_expires_at,
    }
