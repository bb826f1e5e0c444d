"""A site that forks while its connections are open: ``python -m tests.django.forking`` with a job on standard input."""

import json
import os
import sys

from tests.django import kit  # isort: skip - it sets Django up

from django.test import override_settings

from amocrm_userauth.django import _service, user_auth
from amocrm_userauth.testing import http_client


def main() -> None:
    """Ask in the parent, in three children, and in the parent again; every answer must be the same."""
    job = json.loads(sys.stdin.read())
    kit.add_database(job["alias"], **job["database"])
    client = {"HTTP_CLIENT": lambda: http_client(job["url"]), "CONN_MAX_AGE": 600}
    with kit.routed(job["alias"]), override_settings(AMOCRM_USERAUTH=job["settings"] | client):
        token = user_auth().access_token(job["user"])
        mine = user_auth().store
        assert mine._database.connections._idle
        for _ in range(3):
            child = os.fork()
            if not child:
                assert user_auth().store is not mine
                assert not mine._database.connections._idle
                same = user_auth().access_token(job["user"]) == token
                _service.close()
                sys.exit(0 if same else 1)  # an ordinary end, with all that Python takes down
            assert os.waitpid(child, 0)[1] == 0
        idle = mine._database.connections._idle[-1].connection
        assert user_auth().access_token(job["user"]) == token
        assert mine._database.connections._idle[-1].connection is idle, "the child has broken the parent's connection"
        _service.close()


if __name__ == "__main__":
    main()
