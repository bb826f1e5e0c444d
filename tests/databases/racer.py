"""A process that counts on one row by compare and swap: ``python -m tests.databases.racer DRIVER LEVEL URL WORKERS TIMES``.

It prints how many of its commits won, how many leases it got, and each error that a caller saw.
"""

import asyncio
import json
import sys
from typing import Any
from uuid import uuid4

from sqlalchemy import make_url

from tests.databases.kit import DRIVERS, lease, opened, token


async def count(store: Any, times: int, books: dict[str, Any]) -> None:
    """Raise the number in the row ``times`` times; take a lease on each revision that is met."""
    won = 0
    while won < times:
        row = await store.get("counter")
        holder = uuid4().hex
        leased = await store.take_lease(**lease("counter", row.revision, holder))
        books["leases"][row.revision] = books["leases"].get(row.revision, 0) + (leased.lease_holder == holder)
        new = token("counter", uuid4().hex, account_id=str(int(row.pair.account_id) + 1))
        after = await store.commit(new, over=row.revision, keep_previous=False)
        won += after.revision == new.revision
    books["won"] += won


async def main(name: str, level: str, address: str, workers: int, times: int) -> None:
    books: dict[str, Any] = {"won": 0, "leases": {}, "errors": []}
    database = make_url(address)
    options = {"isolation_level": level, "pool_size": workers}
    async with opened(DRIVERS[name], database, prefix="racer", empty=False, **options) as given:
        results = await asyncio.gather(
            *(count(given.store, times, books) for _ in range(workers)), return_exceptions=True
        )
    books["errors"] = [repr(result) for result in results if isinstance(result, Exception)]
    print(json.dumps(books))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], *map(int, sys.argv[4:6])))
