"""Run the quickstart of a README as it stands, against a fake amoCRM on this machine.

    python tools/run_readme.py README.md

The code is not changed. Only the address of amoCRM is: the service and the endpoints' client get an HTTP client that
ends at the fake.
"""

import asyncio
import functools
import os
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import httpx

import amocrm_userauth
import amocrm_userauth.fastapi
from amocrm_userauth import AsyncUserAuth, Integration
from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore
from amocrm_userauth.testing import FakeAmoCRM
from amocrm_userauth.testing.fake import async_http_transport

SECTION = re.compile(r"\[start:quickstart\] -->\n```python\n(.*?)```", re.DOTALL)


def quickstart(readme: Path) -> str:
    """Return the quickstart's code."""
    found = SECTION.search(readme.read_text(encoding="utf-8"))
    if found is None:
        message = f"{readme} has no quickstart section"
        raise SystemExit(message)
    return found[1]


async def connect_and_call(app: Any, fake: FakeAmoCRM) -> None:
    """Go the way of a phone: status, consent, callback, exchange, then a call to amoCRM."""
    anna = {"Authorization": "Bearer example-anna"}
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="https://backend.example", headers=anna) as phone,
    ):
        assert (await phone.get("/api/amo-crm/status", headers={"Authorization": ""})).status_code == 401
        assert (await phone.get("/api/amo-crm/status")).json()["data"]["connected"] is False
        begun = (await phone.get("/api/amo-crm/authorize-url")).json()["data"]
        answer = fake.callback("anna", state=begun["state"])
        bridge = await phone.get("/api/amo-crm/callback", params=answer, headers={"Authorization": ""})
        link = httpx.URL(bridge.headers["Location"])
        assert link.scheme == "myapp", link
        body = {name: link.params[name] for name in ("code", "state", "referer")}
        connected = await phone.post("/api/amo-crm/exchange-code", json=body)
        assert connected.status_code == 200, connected.text
        assert (await phone.get("/api/amo-crm/status")).json()["data"]["domain"] == fake.host("anna")
        leads = await phone.get("/my-leads")
        assert leads.status_code == 200, leads.text
        fake.expire("anna")
        assert (await phone.get("/my-leads")).status_code == 200
        boris = await phone.get("/my-leads", headers={"Authorization": "Bearer example-boris"})
        assert boris.status_code == 409, boris.text


async def run(readme: Path, fake: FakeAmoCRM, folder: Path) -> None:
    """Run the quickstart with its settings in the environment, and use it."""
    integration = fake.integration()
    settings = {
        "AMO_CLIENT_ID": integration.client_id,
        "AMO_CLIENT_SECRET": integration.client_secret,
        "AMO_REDIRECT_URI": integration.redirect_uri,
        "DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'tokens.db'}",
        "TOKEN_KEY": FernetCipher.generate_key(),
    }
    async with fake.async_http_client() as http, async_http_transport(fake.url) as transport:

        class Service(AsyncUserAuth):
            def __init__(self, integration: Integration, store: AsyncSQLAlchemyTokenStore) -> None:
                super().__init__(integration, store, http=http)

        client = functools.partial(amocrm_userauth.fastapi.amocrm_client, transport=transport)
        with (
            patch.dict(os.environ, settings),
            patch.object(amocrm_userauth, "AsyncUserAuth", Service),
            patch.object(amocrm_userauth.fastapi, "amocrm_client", client),
            patch.dict(sys.modules, {"app": ModuleType("app")}),
        ):
            namespace = vars(sys.modules["app"])
            exec(compile(quickstart(readme), str(readme), "exec"), namespace)  # noqa: S102 - that is the point
            await connect_and_call(namespace["app"], fake)


def main() -> None:
    """Run it for the file that the command line names."""
    with FakeAmoCRM() as fake, tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(sys.argv[1]), fake, Path(folder)))
    print(f"the quickstart of {sys.argv[1]} works, with {amocrm_userauth.__file__}")


if __name__ == "__main__":
    main()
