"""The applications that the contract is held against."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, MemoryTokenStore, UserAuth
from amocrm_userauth.testing import FakeAmoCRM
from tests.contract.backend import Backend, Clock
from tests.contract.django_backend import DjangoBackend
from tests.contract.fastapi_apps import INTEGRATION
from tests.contract.fastapi_backend import FastAPIBackend

_FASTAPI = {
    "fastapi-async-memory": {"world": "async", "store": "memory", "mount": "/api/amo-crm"},
    "fastapi-sync-memory": {"world": "sync", "store": "memory", "mount": "/api/v1/integrations/amo-crm"},
    "fastapi-async-sqlalchemy": {"world": "async", "store": "sqlalchemy", "mount": "/api/v1/integrations/amo-crm"},
    "fastapi-sync-sqlalchemy": {"world": "sync", "store": "sqlalchemy", "mount": "/api/amo-crm"},
}
_DJANGO = {
    "django-wsgi": {"server": "wsgi", "mount": "/api/amo-crm"},
    "django-asgi": {"server": "asgi", "mount": "/api/v1/integrations/amo-crm"},
}


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    config.addinivalue_line("markers", "integration(**settings): the integration's settings of a contract test")
    config.addinivalue_line("markers", "service(**options): the service's options of a contract test")


@pytest.fixture
def clock() -> Clock:
    """Give the time of this test."""
    return Clock()


@pytest.fixture
def fake(clock: Clock) -> Iterator[FakeAmoCRM]:
    """Give an amoCRM that lives by the test's clock."""
    with FakeAmoCRM(clock=clock, rate_limit=None) as fake:
        yield fake


@pytest.fixture(params=[*_FASTAPI, *_DJANGO], ids=str)
def backend(request: pytest.FixtureRequest, fake: FakeAmoCRM, clock: Clock, tmp_path: Path) -> Iterator[Backend]:
    """Give a running application; every test runs on each."""
    more = {"integration": _marked(request, "integration"), "options": _marked(request, "service")}
    if request.param in _DJANGO:
        made = DjangoBackend(fake, clock, **_DJANGO[request.param], **more)
    else:
        made = FastAPIBackend(fake, clock, tmp_path, **_FASTAPI[request.param], **more)
    with made.running() as running:
        yield running


def _marked(request: pytest.FixtureRequest, name: str) -> dict[str, object]:
    marker = request.node.get_closest_marker(name)
    return dict(marker.kwargs) if marker else {}


@pytest.fixture(params=["sync", "async"])
def auth(request: pytest.FixtureRequest) -> UserAuth | AsyncUserAuth:
    """Give a service of either world that never gets as far as amoCRM."""
    if request.param == "sync":
        return UserAuth(INTEGRATION, MemoryTokenStore())
    return AsyncUserAuth(INTEGRATION, AsyncMemoryTokenStore())
