"""A site with staff and connected users."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test.utils import setup_test_environment, teardown_test_environment

from amocrm_userauth.testing import FakeAmoCRM
from tests.django import kit as _kit  # sets Django up, before models are imported

__all__ = ["fake", "rows"]

assert _kit


@pytest.fixture
def fake() -> Iterator[FakeAmoCRM]:
    """Give an amoCRM."""
    with FakeAmoCRM(rate_limit=None) as fake:
        yield fake


@pytest.fixture
def rows(fake: FakeAmoCRM) -> Iterator[dict[str, Any]]:
    """Give the rows of four users, on a running site."""
    from tests.django_admin.kit import administered, everybody

    setup_test_environment()
    try:
        with administered(fake):
            yield everybody(fake)
    finally:
        teardown_test_environment()
