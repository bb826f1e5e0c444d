"""Run the site on this machine, with an amoCRM of its own and users to log in as.

    python -m examples.django_site [port]

It needs the packages ``amocrm_userauth[django,crypto,testing]`` and ``pyjwt``. Everything is in a temporary folder; end
it with Ctrl-C.
"""

import os
import secrets
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIServer

import django

from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.testing import FakeAmoCRM

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

PASSWORD = "example-password"
USERS = ("anna", "boris")


def main(port: int = 8000) -> None:
    """Serve until interrupted."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="amocrm-django-site-")))
        fake = stack.enter_context(FakeAmoCRM())
        server = _server(port, fake, folder)
        stack.callback(server.server_close)
        _make_users()
        url = f"http://127.0.0.1:{server.server_port}"
        print(f"The site:  {url}/ (log in as {' or '.join(USERS)}, password {PASSWORD})", flush=True)
        print(f"The admin: {url}/admin/ (log in as admin, password {PASSWORD})", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def _server(port: int, fake: FakeAmoCRM, folder: Path) -> WSGIServer:
    """Set Django up for this machine, and listen."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "examples.django_site.settings"
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler  # noqa: PLC0415 - needs the settings

    class Handler(WSGIRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Log the path without the query: the callback's holds a code."""
            self.requestline = f"{self.command} {self.path.partition('?')[0]}"
            super().log_request(code, size)

    server: WSGIServer = ThreadedWSGIServer(("127.0.0.1", port), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    known = fake.integration(redirect_uri=f"{url}/api/amo-crm/callback")
    os.environ |= {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "JWT_KEY": secrets.token_urlsafe(50),
        "DATABASE": str(folder / "example.sqlite3"),
        "DEEP_LINK": f"{url}/connected",
        "FAKE_AMOCRM": fake.url,
        "AMO_CLIENT_ID": known.client_id,
        "AMO_CLIENT_SECRET": known.client_secret,
        "AMO_REDIRECT_URI": known.redirect_uri,
        "AMO_ENCRYPTION_KEYS": FernetCipher.generate_key(),
    }
    django.setup()
    server.set_app(_application())
    return server


def _application() -> "WSGIApplication":
    from django.contrib.staticfiles.handlers import StaticFilesHandler  # noqa: PLC0415 - needs the settings
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415

    return StaticFilesHandler(get_wsgi_application())


def _make_users() -> None:
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    for name in USERS:
        User.objects.create_user(name, password=PASSWORD)
    User.objects.create_superuser("admin", password=PASSWORD)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
