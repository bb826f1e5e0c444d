"""For the site's own tests: how stored connections and Django's ``TestCase`` go together.

``TestCase`` runs each test in a transaction that is rolled back. The store's own connections cannot see what such a
test has written (its users), and would wait for it in vain. :func:`shared_connection` lets the store work inside of the
test's transaction, so that the end of the test takes its rows back too::

    class AmoCRMTests(TestCase):
        def setUp(self) -> None:
            self.enterContext(shared_connection())

``TransactionTestCase``, live server tests and pytest-django's ``transaction=True`` need none of this.
"""

from collections.abc import Generator
from contextlib import contextmanager

from django.db import router

from amocrm_userauth.django import _connections, _service
from amocrm_userauth.django._settings import Options

__all__ = ["shared_connection"]


@contextmanager
def shared_connection(using: str | None = None) -> Generator[None]:
    """Let the store use this thread's own database connection, whatever transaction it is in; for tests only.

    ``using`` is the alias; the default is the store's. Refreshes, which run in threads of their own, take turns at it.
    """
    from amocrm_userauth.django.models import AmoCRMToken  # noqa: PLC0415 - models need the apps

    alias = using or Options.read().value("DATABASE") or router.db_for_write(AmoCRMToken)
    with _connections.shared(alias):
        try:
            yield
        finally:
            _service.close()
