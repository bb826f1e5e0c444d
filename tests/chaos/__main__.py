"""``python -m tests.chaos``: the run that the options name; status 0 if every invariant held, else 1."""

import sys
from dataclasses import asdict

from tests.chaos.options import parse
from tests.chaos.report import report
from tests.chaos.run import Failed, run


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Make the run and say how it went."""
    options = parse(sys.argv[1:])
    _say(options.command())
    _say("  ".join(f"{name}={value}" for name, value in asdict(options).items() if value != ""))
    try:
        audit = run(options, _say)
    except Failed as failed:
        _say(f"the run failed: {failed}\nonce more: {options.command()}")
        return 1
    for line in report(options, audit):
        _say(line)
    return 1 if audit.violations else 0


if __name__ == "__main__":
    sys.exit(main())
