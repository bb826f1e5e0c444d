"""The process's one service, made from the site's settings when it is first asked for."""

import atexit
import os
from threading import RLock
from typing import TYPE_CHECKING, Any

from django.core.signals import setting_changed

from amocrm_userauth._sync.service import UserAuth
from amocrm_userauth.django import signals
from amocrm_userauth.django._settings import NAME, Options

if TYPE_CHECKING:
    from amocrm_userauth.django.store import DjangoTokenStore

__all__ = ["close", "token_store", "user_auth"]

_REBUILT_FOR = {NAME, "DATABASES", "DATABASE_ROUTERS", "AUTH_USER_MODEL"}


class _Process:
    """What this process has built."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.auth: UserAuth | None = None
        self.store: DjangoTokenStore | None = None
        self.http: Any = None
        self.inherited: list[object] = []

    def in_child(self) -> None:
        """Leave what the parent has built alone: its sockets are the parent's."""
        self.lock = RLock()
        self.inherited += [self.auth, self.http]
        self.auth = self.store = self.http = None


_process = _Process()
os.register_at_fork(after_in_child=_process.in_child)


def user_auth() -> UserAuth:
    """Return the service of this process: ``begin``, ``connect``, ``status``, ``access_token`` … for ``str(user.pk)``.

    It is made from ``settings.AMOCRM_USERAUTH`` at the first call and kept; use it from any thread. It is synchronous:
    in async code say ``await sync_to_async(user_auth().access_token, thread_sensitive=False)(user_id)``.

    Raises:
        ConfigurationError: a setting is missing or wrong; ``manage.py check`` says the same.

    """
    auth = _process.auth
    if auth is not None:
        return auth
    with _process.lock:
        if _process.auth is None:
            _process.auth = _make()
        return _process.auth


def token_store() -> "DjangoTokenStore":
    """Return the store of this process, made from the site's settings. It needs no integration."""
    store = _process.store
    if store is not None:
        return store
    from amocrm_userauth.django.store import DjangoTokenStore  # noqa: PLC0415 - models need the apps

    with _process.lock:
        if _process.store is None:
            options = Options.read()
            _process.store = DjangoTokenStore(cipher=options.cipher(), **options.store())
        return _process.store


def _make() -> UserAuth:
    options = Options.read()
    integration, store = options.integration(), token_store()
    _process.http = options.http_client()
    return UserAuth(integration, store, http=_process.http, on_event=signals.send, **options.service())


def close() -> None:
    """Finish what is under way and close what is open; the next :func:`user_auth` makes a new service."""
    with _process.lock:
        auth, store, http = _process.auth, _process.store, _process.http
        _process.auth = _process.store = _process.http = None
    if auth is not None:
        auth.close()
    if store is not None:
        store.close()
    if http is not None:
        http.close()


def _setting_changed(*, setting: str, **_: object) -> None:
    if setting in _REBUILT_FOR:
        close()


atexit.register(close)
setting_changed.connect(_setting_changed, dispatch_uid="amocrm_userauth")
