"""The fake amoCRM as a process of its own, on the clock of the run: ``python -m tests.chaos.amocrm``."""

import json
import sys

from amocrm_userauth.testing import FakeAmoCRM
from tests.chaos.clocks import Clock


def main() -> None:
    """Serve until standard input ends."""
    given = json.loads(sys.argv[1])
    clock = Clock(**given["clock"])
    with FakeAmoCRM(given["rotation"], clock=clock.wall(), access_lifetime=given["lifetime"], rate_limit=None) as fake:
        fake.integration()
        sys.stdout.write(json.dumps({"url": fake.url, "control_url": fake.control_url}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
