"""Print the leads of some users, as a worker without a web framework would get them.

    python examples/script.py 42 43

It needs the packages ``amocrm_userauth[crypto,sqlalchemy]`` and the same environment as ``fastapi_app``; the users have
connected there. Any number of such scripts may run beside the backend: they share the stored tokens.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
from sqlalchemy import create_engine

from amocrm_userauth import Integration, UserAuth, errors
from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.httpx import client
from amocrm_userauth.sqlalchemy import SQLAlchemyTokenStore


def main(
    users: Sequence[str],
    environ: Mapping[str, str] | None = None,
    *,
    http: httpx.Client | None = None,
    transport: httpx.BaseTransport | None = None,
) -> int:
    """Print each user's leads and return the exit status; tests hand in the client and transport of a fake amoCRM."""
    env = os.environ if environ is None else environ
    engine = create_engine(env.get("SYNC_DATABASE_URL", "sqlite:///amocrm.sqlite"))
    store = SQLAlchemyTokenStore(engine, cipher=FernetCipher(env["TOKEN_KEYS"].split(",")))
    try:
        with UserAuth(Integration.from_env(env), store, http=http) as auth:
            return max([_print_leads(auth, user, transport) for user in users], default=0)
    finally:
        engine.dispose()


def _print_leads(auth: UserAuth, user: str, transport: httpx.BaseTransport | None) -> int:
    try:
        with client(auth, user, transport=transport) as amocrm:
            for lead in _leads(amocrm):
                print(f"{user}: {lead['id']} {lead['name']} ({lead['price']})")
    except errors.ReauthorizationRequired:
        print(f"{user}: must connect amoCRM (again) in the app")
        return 1
    except (errors.TemporarilyUnavailable, httpx.HTTPError) as error:
        print(f"{user}: try again later ({error})")
        return 75  # EX_TEMPFAIL
    return 0


def _leads(amocrm: httpx.Client) -> Iterator[dict[str, Any]]:
    page: str | None = "/api/v4/leads?limit=50"
    while page is not None:
        response = amocrm.get(page).raise_for_status()
        if response.status_code == httpx.codes.NO_CONTENT:
            return
        body = response.json()
        yield from body["_embedded"]["leads"]
        page = body["_links"].get("next", {}).get("href")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
