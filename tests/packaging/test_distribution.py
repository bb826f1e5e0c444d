"""What is in the built files, and what importing the package costs."""

import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = {"sqlalchemy", "sqlalchemy-async", "fastapi", "django", "crypto", "httpx2", "cli", "demo", "testing"}
JUNK = ("__pycache__", ".pyc", ".sqlite3", ".db", "node_modules", ".coverage", ".egg-info", ".hypothesis")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> zipfile.ZipFile:
    """The built wheel, open."""
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="session")
def metadata(wheel: zipfile.ZipFile) -> Message:
    """The wheel's metadata."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Tests, tools and documentation stay out of the environment of those who install it."""
    assert {name.split("/")[0] for name in wheel.namelist()} == {"amocrm_userauth", "amocrm_userauth-0.1.0.dist-info"}


def test_the_wheel_is_typed(wheel: zipfile.ZipFile) -> None:
    """Type checkers use the annotations."""
    assert "amocrm_userauth/py.typed" in wheel.namelist()


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    """No module is forgotten, the generated half included."""
    source = ROOT / "src"
    ours = {path.relative_to(source).as_posix() for path in source.rglob("*.py") if "__pycache__" not in path.parts}
    assert ours <= set(wheel.namelist())
    assert "amocrm_userauth/_sync/ports.py" in ours


def test_the_wheel_ships_the_licence(wheel: zipfile.ZipFile) -> None:
    """The licence text travels with the code."""
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_the_sdist_can_be_tested_and_holds_no_junk(built: Path) -> None:
    """Source, tests, examples and documentation are in it, caches and databases are not."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    for needed in ("src/amocrm_userauth/__init__.py", "tests/conftest.py", "mkdocs.yml", "CHANGELOG.md", "Makefile"):
        assert needed in names
    assert not [name for name in names if any(junk in name for junk in JUNK)]


def test_the_metadata_is_complete(metadata: Message) -> None:
    """A reader of the index sees name, licence, Python version, and a description."""
    assert metadata["Name"] == "amocrm_userauth"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert set(metadata.get_all("Provides-Extra") or []) == EXTRAS


def test_only_three_packages_are_needed_without_extras(metadata: Message) -> None:
    """The core stays light."""
    needed = [line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert sorted(line.partition(">")[0] for line in needed) == ["httpx", "pydantic", "typing-extensions"]


def test_importing_the_package_does_not_import_the_extras() -> None:
    """Who has none of the extras installed can import it, and who has them does not pay for them."""
    heavy = "sqlalchemy fastapi starlette cryptography httpx2 typer uvicorn pytest amocrm_userauth.testing"
    code = f"import sys, amocrm_userauth; print([name for name in {heavy.split()!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_importing_the_package_starts_no_thread() -> None:
    """Nothing runs before somebody asks for it."""
    code = "import threading, amocrm_userauth; print(threading.active_count())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "1"
