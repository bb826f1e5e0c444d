"""Refreshing the users who have been silent for long, before their refresh tokens die of it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from amocrm_userauth._async.ports import AsyncStore
from amocrm_userauth._async.serving import AsyncServer
from amocrm_userauth._core.model import RefreshReport, UserToken
from amocrm_userauth._core.settings import Settings
from amocrm_userauth._pairs import AsyncTime, async_for_each
from amocrm_userauth.errors import AmoCRMUserAuthError, NotConnected

__all__ = ["AsyncWalk", "bound_of"]

_PAGE = 100


@dataclass(slots=True)
class AsyncWalk:
    """One walk over the users whose pair was saved before ``bound``; ``rate`` per second, ``None`` without one."""

    store: AsyncStore
    server: AsyncServer
    settings: Settings
    time: AsyncTime
    bound: datetime
    limit: int | None
    concurrency: int
    rate: float | None
    on_progress: Callable[[RefreshReport], None] | None
    due: int = 0
    refreshed: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])
    next_start: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    async def go(self) -> RefreshReport:
        """Walk page by page to the end; one user's failure does not touch the next."""
        after: tuple[datetime, str] | None = None
        # what fails or is skipped does not count: or users who always fail would keep the others from their turn
        while self.limit is None or self.refreshed < self.limit:
            size = _PAGE if self.limit is None else min(_PAGE, self.limit - self.refreshed)
            page = await self.store.list_due(saved_before=self.bound, after=after, limit=size)
            if not page:
                break
            self.due += len(page)
            await async_for_each(self._one, page, self.concurrency)
            after = (page[-1].pair_saved_at, page[-1].user_id)
        return self.report()

    def report(self) -> RefreshReport:
        """Return how far the walk has come."""
        return RefreshReport(due=self.due, refreshed=self.refreshed, skipped=self.skipped, failed=dict(self.failed))

    async def _one(self, row: UserToken) -> None:
        await self._keep_rate()
        try:
            ours = await self.server.refreshed_by_us(row.user_id, row.revision)
        except NotConnected:
            self._count(refreshed=False)
        except AmoCRMUserAuthError as error:
            self.failed[row.user_id] = error.code
        else:
            self._count(refreshed=ours)
        if self.on_progress is not None:
            self.on_progress(self.report())

    def _count(self, *, refreshed: bool) -> None:
        with self.lock:
            self.refreshed += refreshed
            self.skipped += not refreshed

    async def _keep_rate(self) -> None:
        if self.rate is None:
            return
        now = self.time.monotonic()
        with self.lock:
            start = max(now, self.next_start)
            self.next_start = start + 1 / self.rate
        if start > now:
            await self.time.sleep(start - now)


def bound_of(older_than: timedelta | datetime, now: datetime) -> datetime:
    """Return the time before which a pair counts as due."""
    return older_than if isinstance(older_than, datetime) else now - older_than
