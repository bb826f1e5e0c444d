"""The two adapters are one text."""

from pathlib import Path

import amocrm_userauth

_SOURCE = Path(amocrm_userauth.__file__).parent


def test_the_adapters_differ_in_the_name_of_the_library_only() -> None:
    """What is changed in one is changed in the other."""
    swapped = (
        (_SOURCE / "httpx.py").read_text().replace("httpx2", "\0").replace("httpx", "httpx2").replace("\0", "httpx")
    )
    assert (_SOURCE / "httpx2.py").read_text() == swapped
