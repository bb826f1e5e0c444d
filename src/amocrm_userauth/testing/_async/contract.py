"""The conformance suite for stores: subclass it in a test module, and pytest does the rest."""

from amocrm_userauth.testing._async.contract_leases import AsyncLeaseContract
from amocrm_userauth.testing._async.contract_rows import AsyncRowContract
from amocrm_userauth.testing._async.contract_states import AsyncStateContract

__all__ = ["AsyncStoreContract"]


class AsyncStoreContract(AsyncRowContract, AsyncLeaseContract, AsyncStateContract):
    """Every rule that a store must keep, as tests.

    Give it a store::

        class TestMyStore(AsyncStoreContract):
            def make_store(self):
                return MyStore()

    ``make_store`` is called once a test, and every test needs an empty store. Where there is something to open and
    close, return a context manager, such as a method under ``contextlib.asynccontextmanager``::

        @asynccontextmanager
        async def make_store(self):
            async with connect(...) as connection:
                yield MyStore(connection)

    Needs nothing but pytest: each test runs in a thread and on an event loop of its own, whatever async plugin is
    installed. For fixtures such as ``tmp_path``, add one with ``autouse=True`` that keeps the value on ``self``. Where
    ids are UUIDs or integers, or must exist in another table, override ``user_id``.
    """
