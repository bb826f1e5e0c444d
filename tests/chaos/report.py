"""What a run says at its end."""

from collections.abc import Iterator

from tests.chaos.findings import NAMES, Audit
from tests.chaos.options import Options


def report(options: Options, audit: Audit) -> Iterator[str]:
    """Yield the lines of the summary."""
    for title, counted in audit.counts.items():
        if counted:
            yield f"{title}:"
            yield from (f"  {number:7} {name}" for name, number in sorted(counted.items()))
    yield "time of calls, in the service's seconds, less that in which their process was stopped:"
    for op, figures in audit.figures.items():
        told = "  ".join(
            f"{name} {value:.6g}" if name == "calls" else f"{name} {value:.2f}" for name, value in figures.items()
        )
        yield f"  {op:14} {told}"
    yield "held at rest, warmed up -> at the end:"
    for who, (warm, end) in audit.held.items():
        yield f"  {who:6} " + "  ".join(f"{name} {warm[name]} -> {end[name]}" for name in warm)
    yield from _lost(audit)
    yield from _verdict(options, audit)


def _lost(audit: Audit) -> Iterator[str]:
    yield f"lost: {len(audit.losses)}"
    for loss in audit.losses:
        yield f"  {loss.user} at {loss.at - audit.begins:.0f} s: {loss.cause or 'NO EXCUSE: ' + loss.how}"


def _verdict(options: Options, audit: Audit) -> Iterator[str]:
    if not audit.violations:
        yield "invariants held: " + "; ".join(f"{rule} {name}" for rule, name in NAMES.items())
        return
    yield f"{len(audit.violations)} VIOLATIONS of invariants {', '.join(map(str, sorted(audit.rules)))}:"
    for violation in audit.violations[:60]:
        yield f"  at {violation.at - audit.begins:.1f} s: {violation}"
    for user, lines in audit.stories.items():
        yield f"what happened to {user}:"
        yield from (f"  {line}" for line in lines)
    yield f"once more: {options.command()}"
