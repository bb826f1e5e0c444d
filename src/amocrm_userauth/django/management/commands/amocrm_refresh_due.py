"""Refresh the connections that have been silent for long: run it once a day."""

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from amocrm_userauth._core.model import RefreshReport
from amocrm_userauth.django._service import token_store, user_auth
from amocrm_userauth.django.management._base import AmoCRMCommand
from amocrm_userauth.django.models import AmoCRMToken

_WIDTH = 30


class Command(AmoCRMCommand):
    """``manage.py amocrm_refresh_due [--days 30] [--limit N]``; may run on several hosts at once."""

    help = "Refresh amoCRM connections that were not refreshed for a while: refresh tokens die after three months."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take bounds."""
        parser.add_argument("--days", type=float, default=30, help="how old a token pair must be (default: 30)")
        parser.add_argument("--limit", type=int, help="refresh so many at most")
        parser.add_argument("--concurrency", type=int, default=4, help="so many users at once (default: 4)")
        parser.add_argument("--rate", type=float, default=5, help="so many a second (default: 5; amoCRM takes 7)")
        parser.add_argument("--no-progress", action="store_true", help="no progress bar, also on a terminal")

    def work(self, *_: Any, **options: Any) -> None:
        """Walk, then report. Users whose refresh failed make the command fail, after all have had their turn."""
        bound = datetime.now(UTC) - timedelta(days=options["days"])
        quiet = options["no_progress"] or not self.stderr.isatty()
        bar = _Bar(self.stderr, 0 if quiet else _due(bound, options["limit"]))
        report = user_auth().refresh_due(
            older_than=bound,
            limit=options["limit"],
            concurrency=options["concurrency"],
            rate=options["rate"],
            on_progress=None if quiet else bar.show,
        )
        bar.end()
        self.stdout.write(f"due {report.due}, refreshed {report.refreshed}, skipped {report.skipped}")
        for user_id, code in sorted(report.failed.items()):
            self.stdout.write(f"{user_id}: {code}")
        if report.failed:
            raise CommandError(f"{len(report.failed)} of {report.due} could not be refreshed")


def _due(bound: datetime, limit: int | None) -> int:
    rows = AmoCRMToken.objects.using(token_store().alias)
    due = rows.filter(reauth_reason__isnull=True, pair_saved_at__lt=bound).count()
    return due if limit is None else min(due, limit)


class _Bar:
    """A line that is drawn over and over."""

    def __init__(self, stream: OutputWrapper, total: int) -> None:
        self._stream = stream
        self._total = total
        self._turn = Lock()
        self._done = 0

    def show(self, report: RefreshReport) -> None:
        """Draw how far it has come."""
        done = report.refreshed + report.skipped + len(report.failed)
        with self._turn:
            if done > self._done:
                self._done = done
                self._draw(report, done, max(self._total, done))

    def _draw(self, report: RefreshReport, done: int, total: int) -> None:
        filled = _WIDTH * done // total
        bar = "#" * filled + "-" * (_WIDTH - filled)
        self._stream.write(f"\r[{bar}] {done}/{total}, {len(report.failed)} failed", ending="")
        self._stream.flush()

    def end(self) -> None:
        """Go on to the next line."""
        if self._done:
            self._stream.write("")
