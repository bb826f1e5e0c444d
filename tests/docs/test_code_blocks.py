"""The code that people copy from the README and the documentation."""

import ast
import asyncio
import re
from pathlib import Path

import pytest

from amocrm_userauth.testing import FakeAmoCRM
from tools import griffe_plain, run_readme

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks() -> list[tuple[str, str]]:
    """Return every Python block, with its page."""
    return [
        (path.relative_to(ROOT).as_posix(), code)
        for path in PAGES
        for code in BLOCK.findall(path.read_text(encoding="utf-8"))
        if not code.startswith("--8<--")
    ]


def imports_of(tree: ast.AST) -> list[str]:
    """Return the imports in the code, each as a statement of its own."""
    return [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def parsed(code: str) -> ast.Module:
    """Return the code's tree; ``await`` and ``async with`` may stand outside of a function."""
    return compile(code, "<docs>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize(("page", "code"), blocks())
def test_a_code_block_is_python_and_its_imports_exist(page: str, code: str) -> None:
    """No page names a module or a name that is not there."""
    for statement in imports_of(parsed(code)):
        exec(statement, {})


def test_there_are_code_blocks() -> None:
    """The search for blocks finds some, so the test above is not empty."""
    assert len(blocks()) > 10
    assert any(page == "README.md" for page, _ in blocks())


def test_the_quickstart_works(tmp_path: Path) -> None:
    """The README's application connects a user and calls amoCRM, unchanged."""
    with FakeAmoCRM() as fake:
        asyncio.run(run_readme.run(ROOT / "README.md", fake, tmp_path))


def test_the_testing_page_works() -> None:
    """The example with the fake runs as it stands."""
    page = (ROOT / "docs/how-to/testing.md").read_text(encoding="utf-8")
    exec(BLOCK.findall(page)[0], {})


@pytest.mark.parametrize(
    ("docstring", "markdown"),
    [
        ("See :class:`~amocrm_userauth.UserAuth`.", "See `UserAuth`."),
        ("See :func:`client`.", "See `client`."),
        ("First.\n\n::\n\n    code\n", "First.\n\n\n\n    code\n"),
        ("Like this::\n\n    code\n", "Like this:\n\n    code\n"),
        ("``AMO::X`` stays", "``AMO::X`` stays"),
    ],
)
def test_docstrings_are_shown_without_their_marks(docstring: str, markdown: str) -> None:
    """The reference pages show code, not markup."""
    assert griffe_plain.to_markdown(docstring) == markdown
