"""What one run is made of. A run is named by its options: the same ones give the same schedule."""

import argparse
import shlex
from dataclasses import MISSING, asdict, dataclass, field, fields, replace

FAULTS = (
    "kill", "stop", "stop-long", "kill-at", "stop-at", "stop-long-at", "database-restart", "database-cut", "database-lock",
    "down", "unavailable", "slow", "late", "overtake", "drop", "cut", "drip", "limited", "forbidden", "error", "lookup", "move", "expire",
)  # fmt: skip
POINTS = ("before the send", "after the send", "after the answer", "before the commit", "after the commit")
SYNC_ONLY = ("django",)
TEETH = ("lease", "swap", "shield", "fallback", "claim", "doubt")

EXCHANGE, LEASE, WAIT, SAVE = 20.0, 90.0, 30.0, 20.0  # the service's defaults, in its own seconds
SKEW = 30.0


def _option(default: object, **more: object) -> object:
    return field(default=default, metadata=more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One run. Seconds are real ones, except where it says "of amoCRM's": those pass ``speed`` times as fast."""

    minutes: float = _option(2.0, help="how long faults go on")
    database: str = _option("sqlite", choices=("sqlite", "postgresql", "mariadb"))
    rotation: str = _option("strict", choices=("strict", "lenient", "family"), help="how amoCRM's refresh tokens end")
    seed: int = _option(7, help="of the schedule and of what the workers do")
    workers: int = _option(4, help="processes; every other one is asynchronous")
    users: int = _option(200)
    speed: float = _option(10.0, help="how many seconds of amoCRM's, and of the service's, pass in a real one")
    lifetime: int = _option(240, help="of an access token, in seconds of amoCRM's")
    rate: float = _option(20.0, help="operations a second that each worker begins")
    leaving: float = _option(2.0, help="how many of a hundred operations are disconnects, and how many connects anew")
    impatient: float = _option(10.0, help="how many of a hundred callers give up at once")
    faults: str = _option("all", help="all, none, or some of: " + ", ".join(FAULTS))
    every: float = _option(1.5, help="seconds between two faults, on average")
    kinds: str = _option("mixed", choices=("mixed", "sync", "async"), help="of workers")
    store: str = _option("sqlalchemy", choices=("sqlalchemy", *SYNC_ONLY), help="which stores the workers use")
    immune: int = _option(0, help="how many workers are never killed, so that what they hold can be compared")
    without: str = _option("", choices=("", *TEETH), help="switch a guard off, by a test double: the run must fail")
    look: float = _option(20.0, help="seconds between two audits while it runs")
    keep: str = _option("", help="a folder for the journals; without one they are deleted")

    def __post_init__(self) -> None:
        """Give a store that is synchronous only workers of that kind."""
        if self.store in SYNC_ONLY:
            object.__setattr__(self, "kinds", "sync")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The faults that are on."""
        if self.faults in {"all", "none"}:
            return FAULTS if self.faults == "all" else ()
        return tuple(self.faults.split(","))

    def command(self) -> str:
        """Return the command that repeats this run."""
        words = ["python", "-m", "tests.chaos"]
        for one in fields(self):
            value = getattr(self, one.name)
            if value != one.default and one.name != "keep":
                words += [f"--{one.name}", f"{value:g}" if isinstance(value, float) else str(value)]
        return shlex.join(words)


SOAK = {"minutes": 30.0, "users": 2000, "lifetime": 1800, "rate": 15.0, "every": 4.0, "immune": 2, "look": 450.0}


def parse(arguments: list[str]) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m tests.chaos", description=__doc__)
    for one in fields(Options):
        assert one.default is not MISSING
        more = dict(one.metadata)
        more["help"] = (more.get("help", "") + " (default: %(default)s)").strip()
        parser.add_argument(f"--{one.name}", type=type(one.default), default=one.default, **more)
    parser.add_argument("--soak", action="store_true", help=f"30 minutes, 2000 users, gently: {SOAK}")
    given = vars(parser.parse_args(arguments))
    soak = given.pop("soak")
    made = Options(**given)
    if soak:
        defaults = asdict(Options())
        made = replace(made, **{name: value for name, value in SOAK.items() if given[name] == defaults[name]})
    unknown = set(made.chosen) - set(FAULTS)
    if unknown:
        parser.error(f"unknown faults: {', '.join(sorted(unknown))}")
    return made
