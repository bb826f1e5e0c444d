"""What ``manage.py check`` says about the settings: each wrong or missing one by name, and how to mend it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's name
from django.db import connections, router

from amocrm_userauth._core.integration import Integration
from amocrm_userauth._sync.memory import MemoryTokenStore
from amocrm_userauth._sync.service import UserAuth
from amocrm_userauth._wire.pages import checked_deep_link
from amocrm_userauth.django._settings import ENVIRONMENT, INTEGRATION, KEYS, NAME, REQUIRED, SERVICE, Options, unknown
from amocrm_userauth.errors import ConfigurationError

__all__ = ["check_deployment", "check_settings"]

_PAGE = "its value is on the integration's page in amoCRM"
_HARMLESS: dict[str, Any] = {"client_id": "example", "client_secret": "example", "redirect_uri": "https://localhost"}
_TOGETHER = {
    "ACCOUNT_DOMAIN": ("HOST_SUFFIXES",),
    "ONLY_THIS_ACCOUNT": ("ACCOUNT_ID",),
    "EXCHANGE_BUDGET": ("LEASE",),
    "LEASE": ("EXCHANGE_BUDGET",),
}


@register("amocrm_userauth")
def check_settings(app_configs: Sequence[AppConfig] | None = None, **_: object) -> list[CheckMessage]:
    """Return what is wrong. Nothing is asked of amoCRM or of a database."""
    del app_configs
    if not isinstance(_given(), Mapping):
        return [_error(1, f"settings.{NAME} must be a dict", f"its keys may be {', '.join(KEYS)}")]
    options = Options(_given())
    checks = (_unknown, _missing, _integration, _service, _callables, _keys, _deep_link, _database, _session)
    return [message for check in checks for message in check(options)]


@register(Tags.security, deploy=True)
def check_deployment(app_configs: Sequence[AppConfig] | None = None, **_: object) -> list[CheckMessage]:
    """Return what is weak, for ``manage.py check --deploy``."""
    del app_configs
    return list(_weak(Options(_given()))) if isinstance(_given(), Mapping) else []


def _given() -> Any:
    return getattr(settings, NAME, {})


def _unknown(options: Options) -> Iterator[CheckMessage]:
    for name in unknown(options.given):
        yield _error(2, f"settings.{NAME} has no {name}", f"its keys may be {', '.join(KEYS)}")


def _missing(options: Options) -> Iterator[CheckMessage]:
    for name in REQUIRED:
        if not options.value(name):
            hint = f"set the environment variable {ENVIRONMENT[name]}, or {name} in settings.{NAME}; {_PAGE}"
            yield _error(3, f"settings.{NAME} lacks {name}", hint)


def _integration(options: Options) -> Iterator[CheckMessage]:
    yield from _each(options, INTEGRATION, lambda some: Integration(**{**_HARMLESS, **some}), _PAGE)


def _service(options: Options) -> Iterator[CheckMessage]:
    integration = Integration(**_HARMLESS)

    def build(some: dict[str, Any]) -> None:
        if some.get("state_policy") != "optional":  # it is valid, and building says so in the log
            UserAuth(integration, MemoryTokenStore(), **some)

    yield from _each(options, SERVICE, build, "see UserAuth in the documentation; times are seconds")


def _each(
    options: Options, names: Sequence[str], build: Callable[[dict[str, Any]], object], hint: str
) -> Iterator[CheckMessage]:
    """Try each setting without the others, so that each wrong one is named."""
    seen: set[str] = set()
    for name in names:
        if options.value(name) is None:
            continue
        wrong = _refusal(build, options.some((name, *_TOGETHER.get(name, ()))))
        if wrong is not None and wrong not in seen:
            seen.add(wrong)
            yield _error(4, f"settings.{NAME}[{name!r}]: {wrong}", hint)


def _refusal(build: Callable[[dict[str, Any]], object], some: dict[str, Any]) -> str | None:
    try:
        build(some)
    except ConfigurationError as error:
        return error.message
    except (TypeError, ValueError, AttributeError, OverflowError):
        return "a value of this type means nothing here"
    return None


def _callables(options: Options) -> Iterator[CheckMessage]:
    for name in ("CIPHER", "HTTP_CLIENT", "CURRENT_USER"):
        if options.given.get(name) is not None:
            wrong = _refusal(lambda some: options.callable(*some), {name: None})
            if wrong is not None:
                yield _error(5, wrong, f"name a callable of the site, such as 'site.amocrm.{name.lower()}'")


def _keys(options: Options) -> Iterator[CheckMessage]:
    given = [name for name in ("CIPHER", "ENCRYPTION_KEYS") if options.given.get(name)]
    if len(given) > 1:
        yield _error(6, f"settings.{NAME} has both CIPHER and ENCRYPTION_KEYS", "keep one of them")
    elif given == ["ENCRYPTION_KEYS"]:
        wrong = _refusal(lambda _: options.cipher(), {})
        if wrong is not None:
            hint = "make one with FernetCipher.generate_key() and keep it where the site's other secrets are"
            yield _error(6, f"settings.{NAME}['ENCRYPTION_KEYS']: {wrong}", hint)


def _deep_link(options: Options) -> Iterator[CheckMessage]:
    link = options.given.get("DEEP_LINK")
    wrong = None if link is None else _refusal(lambda _: checked_deep_link(link), {})
    if wrong is not None:
        yield _error(7, f"settings.{NAME}['DEEP_LINK']: {wrong}", "name the address at which the app takes the answer")


def _database(options: Options) -> Iterator[CheckMessage]:
    given = options.given.get("DATABASE")
    alias = given if isinstance(given, str) and given in connections else None
    if given is not None and alias is None:
        yield _error(8, f"settings.{NAME}['DATABASE'] names {given!r}, which DATABASES has not", "name one that it has")
    for name, least in (("CONN_MAX_AGE", 0), ("LOCK_TIMEOUT", 1)):
        value = options.given.get(name)
        if value is not None and not (isinstance(value, int | float) and least <= value < inf):
            yield _error(9, f"settings.{NAME}[{name!r}] must be a number of seconds, {least} or more", "correct it")
    known = connections.settings.get(alias or _alias(), {})
    if known.get("ENGINE") == "django.db.backends.sqlite3" and str(known.get("NAME")) == ":memory:":
        hint = "use a file: every connection to SQLite in memory is an empty database of its own"
        yield _error(10, "amoCRM connections cannot be stored in SQLite's memory", hint)


def _session(options: Options) -> Iterator[CheckMessage]:
    if options.given.get("CURRENT_USER") is None and not any(
        name.endswith("AuthenticationMiddleware") for name in settings.MIDDLEWARE
    ):
        hint = f"add django.contrib.auth.middleware.AuthenticationMiddleware, or name settings.{NAME}['CURRENT_USER']"
        message = "the amoCRM views take the user from Django's session, and MIDDLEWARE has no AuthenticationMiddleware"
        yield Warning(message, hint=hint, id="amocrm_userauth.W011")


def _weak(options: Options) -> Iterator[CheckMessage]:
    if not options.given.get("ENCRYPTION_KEYS") and options.given.get("CIPHER") is None:
        hint = f"settings.{NAME}['ENCRYPTION_KEYS'] = [a key of FernetCipher.generate_key(), from the environment]"
        yield _warning(101, "amoCRM tokens are stored as plain text", hint)
    if str(options.value("REDIRECT_URI") or "").lower().startswith("http:"):
        hint = "register an https address with the integration and name it here"
        yield _warning(102, f"settings.{NAME}['REDIRECT_URI'] is http: codes and states can be read on the way", hint)
    if options.given.get("STATE_POLICY") == "optional":
        hint = "let the clients send the state, or use the callback view; then leave STATE_POLICY out"
        yield _warning(103, "STATE_POLICY 'optional' lets anybody's code connect a user", hint)
    users = router.db_for_write(get_user_model())
    if users != (options.given.get("DATABASE") or _alias()):
        hint = "route both to one database; else connections of deleted users remain, and no foreign key protects them"
        yield _warning(104, "users and their amoCRM connections are in different databases", hint)


def _alias() -> str:
    from amocrm_userauth.django.models import AmoCRMToken  # noqa: PLC0415 - models need the apps

    return router.db_for_write(AmoCRMToken)


def _error(number: int, message: str, hint: str) -> CheckMessage:
    return Error(message, hint=hint, id=f"amocrm_userauth.E{number:03}")


def _warning(number: int, message: str, hint: str) -> CheckMessage:
    return Warning(message, hint=hint, id=f"amocrm_userauth.W{number:03}")
