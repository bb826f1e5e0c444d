"""The store on Django's ORM: each method one short transaction of its own, built around one conditional update."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connections, models, router
from django.db.models import Case, F, Q, Value, When

from amocrm_userauth._core.model import Failure, UserToken
from amocrm_userauth._sync.ports import TokenStore
from amocrm_userauth.crypto import TokenCipher
from amocrm_userauth.django._database import Database, delete
from amocrm_userauth.django._exactly import Exactly
from amocrm_userauth.django._rows import PLAIN, TOKENS, NewToken, failure_values, rewritten, token_of
from amocrm_userauth.django._states import DjangoStateStore
from amocrm_userauth.django._user_ids import UserIds
from amocrm_userauth.django.models import AmoCRMToken
from amocrm_userauth.errors import ConfigurationError, StoreUnavailable

__all__ = ["DjangoTokenStore"]

_ROUNDS = 5
_TRUE = Value(True)  # noqa: FBT003 - it reads well


class _Place:
    """What stores on the same tables of the same database share in this process."""


_places: dict[tuple[str, ...], _Place] = {}


class DjangoTokenStore(TokenStore, DjangoStateStore):
    """Keeps tokens and states in one of the site's databases: SQLite, PostgreSQL, MariaDB or MySQL.

    Every step is a short transaction on a connection of the store's own, never that of the request: whether the request
    commits, rolls back or holds locks does not change what is stored. Conflicts that the database resolves by giving up
    one side are repeated; what others hold for longer than ``lock_timeout`` is ``StoreUnavailable``.

    Args:
        cipher: encrypts the tokens, such as ``FernetCipher([key])``; without one they are stored as plain text.
        database: the alias of the database. Default: where the site's routers send writes of ``AmoCRMToken``.
        conn_max_age: seconds for which an idle connection is kept. Default: the database's ``CONN_MAX_AGE``.
        lock_timeout: seconds to wait for other transactions, rounded to whole ones outside of SQLite.

    """

    def __init__(
        self,
        *,
        cipher: TokenCipher | None = None,
        database: str | None = None,
        conn_max_age: float | None = None,
        lock_timeout: float = 5,
    ) -> None:
        """Read the site's settings; connects to nothing."""
        users = get_user_model()
        self._cipher = cipher
        self._ids = UserIds(users)
        self._users = users
        alias = database or router.db_for_write(AmoCRMToken)
        of_users = router.db_for_read(users)
        if not {alias, of_users} <= set(connections):
            msg = f"settings.DATABASES has no database {alias!r}"
            raise ConfigurationError(msg)
        database_of = partial(Database, max_age=conn_max_age, lock_timeout=lock_timeout)
        self._database = database_of(alias)
        self._users_database = self._database if of_users == alias else database_of(of_users)

    @property
    def alias(self) -> str:
        """The database of ``DATABASES`` in which the connections are."""
        return self._database.alias

    def get(self, user_id: str, *, with_tokens: bool = True) -> UserToken | None:
        """Return the user's row, or ``None``. It needs a key only when a token is looked at."""
        user_id = self.canonical_user_id(user_id)
        return self._database.read(lambda using: self._find(using, user_id, with_tokens=with_tokens))

    def put(self, token: UserToken) -> None:
        """Insert or replace the whole row of ``token.user_id``.

        If the answer to a commit is lost it is not repeated: that could undo a disconnect made in between.
        """
        new = NewToken(token, self.canonical_user_id(token.user_id), self._cipher)
        for _ in range(_ROUNDS):
            if self._database.update(
                lambda using: self._own(using, new.user_id).update(**new.replacing()), again_if_lost=False
            ):
                return
            if self._database.insert(
                lambda: AmoCRMToken(user_id=self._ids.native(new.user_id), **new.inserted()), again_if_lost=False
            ):
                return
            self.check_user(new.user_id)
        msg = "the table refuses the new row (IntegrityError); see whether a constraint was added to it"
        raise StoreUnavailable(msg, user_id=new.user_id)

    def delete(self, user_id: str, *, revision: str | None = None) -> bool:
        """Delete the user's row (only if it is at ``revision``, where given); say whether there was one."""
        user_id = self.canonical_user_id(user_id)
        only = Q() if revision is None else Q(revision=revision)
        return self._database.update(
            lambda using: delete(self._own(using, user_id).filter(only), using), again_if_lost=False
        )

    def take_lease(
        self, user_id: str, *, revision: str, holder: str, until: datetime, now: datetime, rejected: bool = False
    ) -> UserToken | None:
        """Give ``holder`` the lease on ``revision`` until ``until``, if nobody else has it; return the row."""
        user_id = self.canonical_user_id(user_id)
        anothers = Q(lease_holder__isnull=False) & ~Q(lease_holder=holder)
        free = Q(lease_holder__isnull=True) | Q(lease_holder=holder)
        ran_out = Q(lease_until__isnull=True) | Q(lease_until__lte=now)
        # MySQL assigns from left to right and sees what it has assigned: what is computed from old values comes first.
        values: dict[str, Any] = {
            "in_doubt": Case(When(anothers, then=_TRUE), default=F("in_doubt")),
            "lease_holder": holder,
            "lease_until": until,
            "updated_at": now,
        }
        if rejected:
            values["rejected_at"] = now
        return self._write_and_get(
            lambda using: self._own(using, user_id).filter(free | ran_out, revision=revision).update(**values), user_id
        )

    def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> UserToken | None:
        """Replace the pair of revision ``over`` by that of ``token``; return the row as it is afterwards."""
        new = NewToken(token, self.canonical_user_id(token.user_id), self._cipher)
        return self._write_and_get(
            lambda using: (
                self._own(using, new.user_id)
                .filter(revision=over)
                .update(
                    previous_refresh_token=new.previous() if keep_previous else _if_in_doubt(new.previous()),
                    **new.committed(),
                    in_doubt=False,
                    lease_holder=None,
                    lease_until=None,
                    failures=0,
                    failure="",
                    retry_at=None,
                    reauth_reason=None,
                    reauth_at=None,
                )
            ),
            new.user_id,
        )

    def note_failure(self, user_id: str, *, revision: str, holder: str, failure: Failure) -> bool:
        """End ``holder``'s lease on ``revision`` and write ``failure``; say whether that was done."""
        user_id = self.canonical_user_id(user_id)
        values = failure_values(failure) | ({"in_doubt": True} if failure.in_doubt else {})
        return self._database.update(
            lambda using: self._own(using, user_id).filter(revision=revision, lease_holder=holder).update(**values),
            again_if_lost=False,
        )

    def list_due(
        self, *, saved_before: datetime, after: tuple[datetime, str] | None = None, limit: int = 100
    ) -> list[UserToken]:
        """Return one page of unmarked rows whose pair was saved before ``saved_before``, oldest first."""
        due = Q(reauth_reason__isnull=True, pair_saved_at__lt=saved_before)
        if after is not None:
            moment, user_id = after[0], self._ids.native(after[1])
            # Said twice: databases find their way into the index by the first.
            due &= Q(pair_saved_at__gte=moment) & (Q(pair_saved_at__gt=moment) | Q(user_id__gt=user_id))
        return self._database.read(
            lambda using: self._every(_rows(using).filter(due).order_by("pair_saved_at", "user_id")[:limit], PLAIN)
        )

    def find_login(self, *, account_id: str, amocrm_user_id: str) -> list[str]:
        """Return the user ids whose pair belongs to this amoCRM login."""
        return self._database.read(
            lambda using: [
                str(user_id)
                for user_id in _rows(using)
                .filter(account_id=account_id, amocrm_user_id=amocrm_user_id)
                .order_by("user_id")
                .values_list("user_id", flat=True)
            ]
        )

    def check_user(self, user_id: str) -> None:
        """Raise ``ConfigurationError`` if the site has no such user."""
        user_id = self.canonical_user_id(user_id)
        key = self._ids.native(user_id)
        found = self._users_database.read(
            lambda using: list(self._users._base_manager.using(using).filter(pk=key).values_list("pk", flat=True)[:1])  # noqa: SLF001 - Django's API
        )
        if [str(pk) for pk in found] != [user_id]:
            msg = "the site has no such user; connect only users that are stored"
            raise ConfigurationError(msg, user_id=user_id)

    def canonical_user_id(self, user_id: str) -> str:
        """Return the one spelling of ``user_id`` that the site uses. Raises ``ValueError`` if it cannot be an id."""
        return self._ids.canonical(user_id)

    def shared_scope(self) -> tuple[object, str]:
        """Return what stores on the same rows have in common in this process."""
        settings = connections.settings[self._database.alias]
        key = tuple(str(settings[name]) for name in ("ENGINE", "NAME", "HOST", "PORT"))
        return (_places.setdefault(key, _Place()), AmoCRMToken._meta.db_table)  # noqa: SLF001 - Django's API

    def close(self) -> None:
        """Close the idle connections. The store can still be used."""
        self._database.connections.close_idle()
        self._users_database.connections.close_idle()

    def reencrypt(self, *, batch: int = 100) -> int:
        """Write every row's tokens anew with the cipher's current key; return how many rows were written.

        Safe while the site runs: a row that gets a new pair meanwhile is left alone, it has the new key already.
        Raises ``ConfigurationError`` at the first row that no key fits; nothing of it is overwritten.
        """
        written, page = 0, self._page(Q(), batch)
        while page:
            for token in page:
                written += self._rewrite(token)
            page = self._page(Q(user_id__gt=self._ids.native(page[-1].user_id)), batch)
        return written

    def _own(self, using: str, user_id: str) -> "models.QuerySet[AmoCRMToken]":
        rows = _rows(using).filter(user_id=self._ids.native(user_id))
        return rows.filter(Exactly("user_id", user_id)) if self._ids.is_text else rows

    def _find(self, using: str, user_id: str, *, with_tokens: bool = True) -> UserToken | None:
        columns = (*PLAIN, *TOKENS) if with_tokens else PLAIN
        row = _rows(using).filter(user_id=self._ids.native(user_id)).values_list(*columns).first()
        # a collation may have found somebody else's
        return token_of(row, user_id, self._cipher) if row is not None and str(row[0]) == user_id else None

    def _every(self, rows: "models.QuerySet[AmoCRMToken]", columns: tuple[str, ...]) -> list[UserToken]:
        return [token_of(row, str(row[0]), self._cipher) for row in rows.values_list(*columns)]

    def _write_and_get(self, write: Callable[[str], int], user_id: str) -> UserToken | None:
        return self._database.write_and_read(write, lambda using: self._find(using, user_id))

    def _page(self, place: Q, batch: int) -> list[UserToken]:
        return self._database.read(
            lambda using: self._every(_rows(using).filter(place).order_by("user_id")[:batch], (*PLAIN, *TOKENS))
        )

    def _rewrite(self, token: UserToken) -> bool:
        return self._database.update(
            lambda using: (
                self._own(using, token.user_id).filter(revision=token.revision).update(**rewritten(token, self._cipher))
            )
        )


def _rows(using: str) -> "models.QuerySet[AmoCRMToken]":
    return AmoCRMToken.objects.using(using)


def _if_in_doubt(previous: str | None) -> Case:
    return Case(When(in_doubt=True, then=Value(previous)), default=Value(None), output_field=models.TextField())
