"""What the linter does not see to."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_says_what_is_true() -> None:
    """A failing test is understood from its name and its docstring."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_file_of_the_package_has_grown_too_long() -> None:
    """A file that outgrows 400 lines does two things."""
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in sorted((ROOT / "src").rglob("*.py"))
        if "_sync" not in path.parts and (lines := path.read_text(encoding="utf-8").count("\n")) > 400
    ]
    assert long == []
