"""The four worlds in which the HTTP auth is tried."""

from collections.abc import Iterator

import pytest

from amocrm_userauth.testing import FakeAmoCRM
from tests.http_auth.worlds import WORLDS, World


@pytest.fixture
def fake() -> Iterator[FakeAmoCRM]:
    """Give an amoCRM without a limit of calls."""
    with FakeAmoCRM(rate_limit=None) as fake:
        yield fake


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, fake: FakeAmoCRM) -> Iterator[World]:
    """Give a service with Anna connected; every test runs in each world."""
    library, kind = WORLDS[request.param]
    with kind.opened(library, fake) as world:
        yield world
