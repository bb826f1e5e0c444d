"""The parent's side of :mod:`tests.races.worker`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from amocrm_userauth.testing import FakeAmoCRM
from tests.races.kit import PATIENCE

ROOT = Path(__file__).parents[2]


class Worker:
    """One child process. Its jobs run one after the other; several workers run side by side."""

    def __init__(self) -> None:
        paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.races.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )

    def begin(self, do: str, fake: FakeAmoCRM, path: Path, **more: Any) -> Self:
        """Hand it a job."""
        mine = fake.integration()
        known = [mine.client_id, mine.client_secret, mine.redirect_uri]
        job = {"do": do, "url": fake.url, "path": str(path), "integration": known, **more}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return self

    def result(self) -> list[str]:
        """Wait for the job's answer."""
        return json.loads(self.process.stdout.readline())

    def killed(self) -> None:
        """Wait until it has been killed."""
        assert self.process.wait(PATIENCE) < 0
        self.stop()

    def stop(self) -> None:
        """End it and free its pipes."""
        self.process.kill()
        self.process.wait(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()
