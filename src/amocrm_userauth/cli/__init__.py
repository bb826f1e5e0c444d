"""The command line ``amocrm-userauth``. Needs the extra ``amocrm_userauth[cli]``; the demo needs ``[demo]``."""

import sys

__all__ = ["main"]

_MISSING = "amocrm-userauth: the command line needs typer and rich: pip install 'amocrm_userauth[cli]'"


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        from amocrm_userauth.cli._app import app  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich", "click"}:
            raise
        sys.exit(_MISSING)
    app()
