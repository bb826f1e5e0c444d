"""What all tests share: tests marked ``long`` run only when asked for."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what takes minutes, unless ``AMOCRM_TEST_LONG=1``."""
    if os.environ.get("AMOCRM_TEST_LONG") == "1":
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: make test-long"))
