"""The commands."""

from typing import Annotated

import typer

from amocrm_userauth.cli import _demo
from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.errors import ConfigurationError

__all__ = ["app"]

app = typer.Typer(
    name="amocrm-userauth",
    help="Every user's own amoCRM connection.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_keys = typer.Typer(help="Keys that encrypt stored tokens.", no_args_is_help=True)
app.add_typer(_keys, name="keys")


@app.command()
def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="Take the tour without a browser and exit.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address, open no browser.")] = False,
) -> None:
    """Try it: a backend and a fake amoCRM on this machine, and a page that plays the phone."""
    raise typer.Exit(_demo.once() if once else _demo.play(open_browser=not no_open))


@_keys.command("new")
def new_key() -> None:
    """Print a new key for FernetCipher. Keep it where the other secrets of the application are."""
    try:
        typer.echo(FernetCipher.generate_key())
    except ConfigurationError as error:
        typer.echo(f"amocrm-userauth: {error.message}", err=True)
        raise typer.Exit(1) from None
