"""One run: start everything, let faults happen, let everything settle, and judge."""

import contextlib
import json
import random
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amocrm_userauth.testing import FakeAmoCRM, fingerprint
from tests.chaos import databases, faults, stores
from tests.chaos.audit import Audit, History, audited
from tests.chaos.clocks import Clock, boot_time
from tests.chaos.facts import FOREVER
from tests.chaos.journal import Journal, Reader, Record
from tests.chaos.options import LEASE, SKEW, Options
from tests.chaos.processes import Worker, started

_STEP = 0.05
_START = 60.0
_CLOSE = 30.0


class Failed(Exception):
    """The run itself could not be made."""


class Run:
    """One run in a folder of its own."""

    def __init__(self, options: Options, folder: Path, say: Callable[[str], None]) -> None:
        self.options, self.folder, self._say = options, folder, say
        self.clock = Clock.starting(options.speed)
        self.journal = Journal(folder / "run.journal", self.clock, "run")
        self.database = databases.made(options.database, folder)
        self.amo: FakeAmoCRM
        self.aside: list[threading.Thread] = []
        self.workers: list[Worker] = []
        self.delayed = 0.0
        self._urls: dict[str, str] = {}
        self._lives = [0] * options.workers
        self._timers: list[tuple[float, Callable[[], Any]]] = []
        self._records: list[Record] = []
        self._reader = Reader(folder)
        chance = random.Random(f"clocks {options.seed}")
        off = chance.randrange(options.workers)
        self.skews = [0.0] * options.workers
        self.skews[off] = round(chance.choice((-1, 1)) * chance.uniform(SKEW / 2, SKEW), 1)

    def real(self, seconds: float) -> float:
        """Return amoCRM's seconds as real ones."""
        return seconds / self.options.speed

    def go(self) -> Audit:
        """Do all of it and return the verdict."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.journal.close)
            self._open(stack)
            self._connect_everybody()
            self._harass()
            self._settle()
            return self._judge()

    # the beginning

    def _open(self, stack: contextlib.ExitStack) -> None:
        options = self.options
        amo = started(
            "amocrm",
            {"clock": asdict(self.clock), "rotation": options.rotation, "lifetime": options.lifetime},
            stdout=subprocess.PIPE,
        )
        stack.callback(_end, amo)
        assert amo.stdout is not None
        self._urls = json.loads(amo.stdout.readline())
        self.amo = FakeAmoCRM.attach(self._urls["control_url"])
        stack.callback(self.database.stop)
        self.database.start()
        tables = stores.KINDS[options.store].tables
        self.database.create_schema(lambda address: tables(address, options.users))
        stack.callback(self._end_workers)
        self.workers = [self._worker(index) for index in range(options.workers)]

    def _worker(self, index: int) -> Worker:
        self._lives[index] += 1
        options = self.options
        name = f"w{index}.{self._lives[index]}"
        given = {
            **self._urls,
            "clock": asdict(self.clock),
            "name": name,
            "index": index,
            "workers": options.workers,
            "users": options.users,
            "seed": options.seed,
            "rate": options.rate,
            "lifetime": options.lifetime,
            "leaving": options.leaving,
            "impatient": options.impatient,
            "store": options.store,
            "without": options.without,
            "is_async": options.kinds == "async" or (options.kinds == "mixed" and index % 2 == 1),
            "skew": self.skews[index],
            "database_url": self.database.url,
            "journal": str(self.folder / f"{name}.journal"),
        }
        self.journal.write("born", on=name, is_async=given["is_async"], skew=given["skew"])
        return Worker(name, given, self.journal, self.folder / "errors")

    def _end_workers(self) -> None:
        for worker in self.workers:
            worker.end()
        for thread in self.aside:
            thread.join(_START)

    def _connect_everybody(self) -> None:
        began = boot_time()
        for worker in self.workers:
            worker.order(do="connect")
        self._wait("ready", _START + self.options.users / 4)
        connected = sum(row is not None for row in self._rows().values())
        if connected < 0.9 * self.options.users:
            msg = f"only {connected} of {self.options.users} users could be connected:\n{self.errors()}"
            raise Failed(msg)
        self._say(f"{self.options.users} users connected in {boot_time() - began:.1f} s; the faults begin")

    def _wait(self, kind: str, patience: float, **wanted: Any) -> None:
        """Wait until each worker has written a record of this kind."""
        missing, give_up = {worker.name for worker in self.workers}, boot_time() + patience
        while missing:
            for record in self._read():
                if record["k"] == kind and wanted.items() <= record.items():
                    missing.discard(record["w"])
            self._tend()
            gone = [worker.name for worker in self.workers if worker.process.poll() is not None]
            if set(gone) & missing:
                self.journal.write("crashed", on=gone[0], status=0)
                msg = f"{gone[0]} ended by itself; see {self.folder / 'errors'}:\n{self.errors()}"
                raise Failed(msg)
            if boot_time() > give_up:
                for name in missing:
                    self.journal.write("hangs", on=name, at=kind)
                return
            self._pause()

    def errors(self) -> str:
        """Return the end of what workers said on their error output."""
        path = self.folder / "errors"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def _pause(self) -> None:
        threading.Event().wait(_STEP)

    # the middle

    def _harass(self) -> None:
        options = self.options
        self.journal.write("begins")
        for worker in self.workers:
            worker.order(do="go")
        began, planned = boot_time(), faults.schedule(options)
        end, look = began + options.minutes * 60, began + options.look
        fault, waiting = next(planned, None), list[faults.Planned]()
        while (now := boot_time()) < end:
            while fault is not None and now >= began + fault.at:
                waiting.append(fault)
                fault = next(planned, None)
            waiting = [one for one in waiting if not faults.apply(self, one)]
            self._keep_going()
            for worker in self.workers:
                self._rest(worker, end)
            list(self._read())
            if now >= look and end - now > options.look / 2:
                self._look()
                look = boot_time() + options.look
            self._pause()
        for one in waiting:
            self.journal.write("skipped", number=one.number, name=one.name)

    def _look(self) -> None:
        audit = audited(self.history(final=False))
        self._say(audit.line(self.clock.now() - self.clock.epoch, self.options.speed))
        if audit.violations:
            for violation in audit.violations[:5]:
                self._say(f"  so far: {violation}")

    def _rest(self, worker: Worker, end: float) -> None:
        """Let a worker that has warmed up pause for a moment, and count what it holds then."""
        warm = min(max(8.0, self.options.minutes * 60 * 0.2), 240.0)
        if not worker.rested and boot_time() > worker.up_at + warm and boot_time() < end - 6 and worker.is_free:
            worker.rested = True
            worker.order(do="rest", why="warm", seconds=4, then="go")

    def _keep_going(self) -> None:
        self._tend()
        for place, worker in enumerate(self.workers):
            status = worker.process.poll()
            if status is None:
                continue
            if status == -9:
                self.journal.write("died", on=worker.name)
            else:
                self.journal.write("crashed", on=worker.name, status=status, text=self.errors())
            worker.end()
            self.workers[place] = self._worker(worker.index)
            self.workers[place].order(do="go")

    def _tend(self) -> None:
        for worker in self.workers:
            worker.tend()
        now = boot_time()
        due = [work for at, work in self._timers if at <= now]
        self._timers = [(at, work) for at, work in self._timers if at > now]
        for work in due:
            work()

    def later(self, seconds: float, work: Callable[[], Any]) -> None:
        """Do ``work`` in some real seconds."""
        self._timers.append((boot_time() + seconds, work))

    def worker_for(self, index: int) -> Worker | None:
        """Return this worker, or another one that is free; ``None`` if only one is."""
        free = [worker for worker in self.workers if worker.is_free]
        if len(free) < 2:
            return None
        return next((worker for worker in free if worker.index == index), free[0])

    def note(self, fault: faults.Planned, *, on: str = "") -> None:
        """Write down that a fault was applied."""
        self.journal.write("fault", number=fault.number, name=fault.name, on=on)

    # the end

    def _settle(self) -> None:
        self._say("the faults end; everybody is asked until each answer stays")
        for thread in self.aside:
            thread.join(_START)
        for _, work in self._timers:
            work()
        self._timers.clear()
        self.amo.up()
        self.amo.clear_faults()
        self._keep_going()
        for worker in self.workers:
            worker.go_on()
        self.journal.write("faults end")
        self._until_arrived()
        self._resting("idle")
        patience = max(self.real(4 * LEASE), 15.0) + self.options.users / 15
        self._drain(1, "access_token", [], patience)
        doomed = self._doomed()
        if doomed:
            self._drain(2, "refresh", doomed, patience)
            self._drain(3, "access_token", doomed, patience)
        self._resting("end")
        self.journal.write("connections", count=self.database.connections(), what="end")
        for worker in self.workers:
            worker.order(do="close")
        self._close()

    def _until_arrived(self) -> None:
        """Wait for the requests that amoCRM keeps: what they do must have been done when everybody is asked."""
        give_up = boot_time() + self.real(self.delayed)
        while boot_time() < give_up:
            self._keep_going()
            self._pause()

    def _resting(self, why: str) -> None:
        for worker in self.workers:
            worker.order(do="rest", why=why, seconds=self.real(150) + 5, then="stay")
        self._wait("sample", self.real(150) + 30, why=why)

    def _drain(self, number: int, op: str, users: list[str], patience: float) -> None:
        for worker in self.workers:
            worker.order(do="drain", number=number, op=op, users=users, seconds=patience)
        self._wait("drained", patience + 30, number=number)

    def _doomed(self) -> list[str]:
        """Return the users whose stored refresh token amoCRM would not take, as nobody may have noticed yet."""
        alive = {entry.fingerprint for entry in self.amo.ledger() if entry.state == "alive"}
        rows = self._rows()
        return [user for user, row in rows.items() if row and not row["mark"] and row["fp"] not in alive]

    def _close(self) -> None:
        give_up = boot_time() + _CLOSE
        for worker in self.workers:
            try:
                worker.process.wait(max(give_up - boot_time(), 0.1))
            except subprocess.TimeoutExpired:
                self.journal.write("hangs", on=worker.name, at="close")
            if worker.process.poll() not in {0, None}:
                status = worker.process.returncode
                self.journal.write("crashed", on=worker.name, status=status, text=self.errors())

    def _rows(self) -> dict[str, Record | None]:
        users = [f"u{number}" for number in range(self.options.users)]
        return {user: row and _told(row) for user, row in self.database.rows(users).items()}

    def _read(self) -> Iterator[Record]:
        for record in self._reader.new():
            self._records.append(record)
            if record["k"] == "up":
                self._warms_up(record["w"])
            yield record

    def _warms_up(self, name: str) -> None:
        for worker in self.workers:
            if worker.name == name:
                worker.up_at = boot_time()

    def history(self, *, final: bool) -> History:
        """Return what is known so far: the books first, so that no journal is behind them."""
        now = self.clock.now()
        presentations = [asdict(seen) for seen in self.amo.presentations()]
        ledger = [asdict(entry) for entry in self.amo.ledger()]
        list(self._read())
        return History(
            records=sorted(self._records, key=lambda record: record["t"]),
            presentations=presentations,
            ledger=ledger,
            rows=self._rows() if final else None,
            rotation=self.options.rotation,
            speed=self.options.speed,
            books_at=FOREVER if final else now,
        )

    def _judge(self) -> Audit:
        return audited(self.history(final=True))


def _told(row: Any) -> Record:
    return {
        "rev": row.revision,
        "fp": fingerprint(row.pair.refresh_token),
        "mark": row.reauth_reason,
        "doubt": row.in_doubt,
        "amo": row.pair.amocrm_user_id,
    }


def _end(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


@contextlib.contextmanager
def folder_for(options: Options) -> Iterator[Path]:
    """Give a folder for the run: the one that the options name, or one that goes afterwards."""
    if options.keep:
        path = Path(options.keep)
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    else:
        path = Path(tempfile.mkdtemp(prefix="amocrm-chaos-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        if not options.keep:
            shutil.rmtree(path, ignore_errors=True)


def run(options: Options, say: Callable[[str], None]) -> Audit:
    """Make one run and return its verdict."""
    with folder_for(options) as folder:
        return Run(options, folder, say).go()
