"""The store suite on the ORM store: each database, with and without encryption, whatever the user model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from tests.django import kit  # isort: skip - it sets Django up

import pytest
from django.contrib.auth import get_user_model

from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.django import DjangoTokenStore
from amocrm_userauth.testing import StoreContract

_CIPHER = FernetCipher([FernetCipher.generate_key()])


class _OnDjango(StoreContract):
    """On a database that a subclass names; it is emptied for each test."""

    server: ClassVar[str]
    cipher: ClassVar[FernetCipher | None] = None

    @pytest.fixture(autouse=True)
    def _server(self, request: pytest.FixtureRequest) -> None:
        self.alias: str = request.getfixturevalue(f"on_{self.server}")

    @contextmanager
    def make_store(self) -> Iterator[DjangoTokenStore]:
        with kit.routed(self.alias), kit.empty(self.alias):
            store = DjangoTokenStore(cipher=self.cipher, conn_max_age=60)
            yield store
            store.close()

    def user_id(self, name: str) -> str:
        return kit.make_user(name, self.alias)


class TestSQLite(_OnDjango):
    """SQLite in a file, encrypted."""

    server = "sqlite"
    cipher = _CIPHER


class TestPostgreSQL(_OnDjango):
    """PostgreSQL."""

    server = "postgresql"


class TestMariaDB(_OnDjango):
    """MariaDB."""

    server = "mariadb"
    if get_user_model()._meta.pk.get_internal_type() == "CharField":
        test_ids_that_look_alike_are_different_users = None  # the site's own table cannot hold two of them
