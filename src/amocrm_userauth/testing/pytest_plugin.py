"""The pytest fixture ``fake_amocrm``: a fake amoCRM for one test, started only where a test asks for it.

``@pytest.mark.fake_amocrm(rotation="lenient")`` passes arguments to :class:`~amocrm_userauth.testing.FakeAmoCRM`.
"""

from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amocrm_userauth.testing.fake import FakeAmoCRM

__all__ = ["fake_amocrm", "pytest_configure"]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "fake_amocrm(**options): arguments of FakeAmoCRM for the fixture fake_amocrm")


@pytest.fixture
def fake_amocrm(request: pytest.FixtureRequest) -> "Iterator[FakeAmoCRM]":
    """Give a fake amoCRM of this test's own; it is stopped afterwards."""
    from amocrm_userauth.testing.fake import FakeAmoCRM  # noqa: PLC0415 - only where a test asks for it

    node = cast("pytest.Item", request.node)  # pyright: ignore[reportUnknownMemberType]
    marker = node.get_closest_marker("fake_amocrm")
    options = cast("dict[str, Any]", marker.kwargs) if marker else {}
    with FakeAmoCRM(**options) as fake:
        yield fake
