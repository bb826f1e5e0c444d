"""How a site tests: inside ``TestCase``'s transaction, and in ``TransactionTestCase``."""

from tests.django import kit  # isort: skip - it sets Django up

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.test import TestCase, TransactionTestCase

from amocrm_userauth.django import user_auth
from amocrm_userauth.django.models import AmoCRMToken
from amocrm_userauth.django.test import shared_connection
from amocrm_userauth.errors import ConfigurationError
from tests.django.site import amocrm, connect, connect_expired
from tests.races.kit import in_threads


@pytest.fixture(scope="module", autouse=True)
def _migrated(on_sqlite: str) -> None:
    """Both cases use the site's default database."""


class TestInsideATransaction(TestCase):
    """As the page on Django shows it."""

    def setUp(self) -> None:
        self.fake = self.enterContext(amocrm())
        self.enterContext(shared_connection())
        self.user = get_user_model().objects.create(username="bob")

    def test_a_user_of_this_test_connects_and_refreshes(self) -> None:
        """The store sees the user that the test has just made, also from the threads that refresh."""
        connect_expired(self.fake, str(self.user.pk))
        tokens = in_threads([lambda: user_auth().access_token(str(self.user.pk))] * 5)
        assert set(tokens) == {self.fake.pairs(str(self.user.pk))[-1].access_token}
        assert AmoCRMToken.objects.filter(user=self.user).count() == 1

    def test_nothing_is_left_of_other_tests(self) -> None:
        """Each test's connections went with its transaction."""
        assert AmoCRMToken.objects.count() == 0

    def test_an_error_of_the_store_leaves_the_test_its_transaction(self) -> None:
        """A step is a savepoint: what a constraint refuses is undone alone."""
        request = user_auth().begin("999999")
        code = self.fake.authorize("bob", state=request.state)
        with pytest.raises(ConfigurationError, match="no such user"):
            user_auth().connect("999999", code=code, state=request.state, referer=self.fake.host("bob"))
        assert get_user_model().objects.count() == 1

    def test_it_is_shared_once(self) -> None:
        """A second time would mean nothing."""
        with pytest.raises(ConfigurationError, match="already"), shared_connection():
            pass


class TestOutsideOfATransaction(TransactionTestCase):
    """Nothing is needed."""

    def test_a_committed_user_connects(self) -> None:
        """The store's own connections see what is committed."""
        user = str(get_user_model().objects.create(username="bob").pk)
        with amocrm() as fake:
            connect(fake, user)
            assert user_auth().status(user).connected


def test_sharing_ends(database: str) -> None:
    """Afterwards the store has connections of its own again."""
    user = kit.make_user("bob", database)
    with amocrm() as fake:
        with shared_connection(database):
            connect(fake, user)
            assert connections[database].connection is not None
        connections[database].close()
        assert user_auth().status(user).connected
        assert connections[database].connection is None
    connections[database].close()
