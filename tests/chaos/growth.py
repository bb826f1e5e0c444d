"""Invariant 5: what a process holds at rest is as much at the end as when it had warmed up."""

from collections.abc import Iterator

from tests.chaos.facts import Facts
from tests.chaos.findings import Violation

# by so many times, and so much more, than when it had warmed up; a pool keeps up to ten connections
BOUNDS = {"rss MB": (1.2, 12.0), "threads": (1.0, 12.0), "tasks": (1.0, 2.0), "files": (1.0, 24.0)}
POOL = 10


def held(facts: Facts) -> dict[str, tuple[dict[str, float], dict[str, float]]]:
    """Return what each worker held when it had warmed up and at the end; only those that lived through both."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for record in facts.others["sample"]:
        found.setdefault(record["w"], {})[record["why"]] = record["held"]
    return {who: (seen["warm"], seen["end"]) for who, seen in sorted(found.items()) if {"warm", "end"} <= seen.keys()}


def violations(facts: Facts) -> Iterator[Violation]:
    """Compare the two, and look for connections that were not given back."""
    for who, (warm, end) in held(facts).items():
        for name, (times, more) in BOUNDS.items():
            if end[name] > warm[name] * times + more:
                yield Violation(
                    5, "", f"{who} holds {end[name]} {name}, and {warm[name]} when it had warmed up", facts.end
                )
    for record in facts.others["sample"]:
        if record["why"] == "end" and (record["held"]["in use"] or record["held"]["connections"] > POOL):
            yield Violation(5, "", f"{record['w']} has not given back its connections: {record['held']}", record["t"])
    workers = len({record["w"] for record in facts.others["sample"] if record["why"] == "end"})
    for record in facts.others["connections"]:
        if record["count"] > POOL * workers:
            yield Violation(5, "", f"the server has {record['count']} connections of {workers} workers", record["t"])
