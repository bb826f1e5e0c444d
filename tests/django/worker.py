"""A process of its own that serves the site's users; it takes jobs as JSON lines and answers each with one."""

import json
import os
import signal
import sys
from typing import Any

from tests.django import kit  # isort: skip - it sets Django up

from django.test import override_settings

from amocrm_userauth.django import user_auth
from amocrm_userauth.errors import AmoCRMUserAuthError
from amocrm_userauth.testing import http_client
from tests.races.kit import PATIENCE, in_threads


def ask(job: dict[str, Any]) -> list[Any]:
    """As many callers as asked for want the user's token at once."""
    return in_threads([lambda: user_auth().access_token(job["user"])] * job["callers"])


def ask_and_die(job: dict[str, Any]) -> list[Any]:
    """Refresh, and be killed just before or just after the fresh pair is committed."""
    store = user_auth().store
    commit = store.commit

    def dying(*args: Any, **more: Any) -> Any:
        if job["point"] == "after":
            commit(*args, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    store.commit = dying
    return [user_auth().access_token(job["user"])]


DO = {"ask": ask, "die": ask_and_die}


def told(result: Any) -> str:
    """A token as it is, an error by its code, so that the parent can count them."""
    if isinstance(result, AmoCRMUserAuthError):
        return f"error:{result.code} {result.message}"
    return result if isinstance(result, str) else f"error:{result!r}"


def serve() -> None:
    """Do job after job."""
    for line in sys.stdin:
        job = json.loads(line)
        alias = job["alias"]
        if alias not in kit.connections.settings or alias == "default":
            kit.add_database(alias, **job["database"])
        client = {"HTTP_CLIENT": lambda url=job["url"]: http_client(url, timeout=PATIENCE)}
        with kit.routed(alias), override_settings(AMOCRM_USERAUTH=job["settings"] | client):
            results = [told(result) for result in DO[job["do"]](job)]
        sys.stdout.write(json.dumps(results) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
