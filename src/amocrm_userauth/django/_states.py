"""The half of the store that remembers nonces and codes."""

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import Q

from amocrm_userauth._core.model import StateRecord
from amocrm_userauth._sync.ports import StateStore
from amocrm_userauth.django._database import Database, delete
from amocrm_userauth.django._rows import STATE, record_of
from amocrm_userauth.django.models import AmoCRMState
from amocrm_userauth.errors import StoreUnavailable

if TYPE_CHECKING:
    from django.db.models import QuerySet

__all__ = ["DjangoStateStore"]

_ROUNDS = 5
_SWEEP = 20


class DjangoStateStore(StateStore):
    """Keeps hashes of used states and codes."""

    _database: Database

    def remember_code(
        self, *, nonce_hash: str, code_hash: str, user_hash: str, expires_at: datetime, now: datetime
    ) -> bool:
        """Record that this code came with this nonce; the first code of a nonce stands."""
        fresh = StateRecord(
            nonce_hash=nonce_hash,
            code_hash=code_hash,
            user_hash=user_hash,
            outcome="recorded",
            expires_at=expires_at,
        )
        known = self._state(Q(expires_at__lte=now), fresh)
        return (known.code_hash, known.user_hash) == (code_hash, user_hash)

    def find_code(self, code_hash: str, *, now: datetime) -> list[StateRecord]:
        """Return every unexpired record of this code."""
        return self._database.read(
            lambda using: [
                record_of(row)
                for row in _states(using).filter(code_hash=code_hash, expires_at__gt=now).values_list(*STATE)
            ]
        )

    def claim(
        self,
        *,
        nonce_hash: str,
        code_hash: str,
        user_hash: str,
        claimant: str,
        until: datetime,
        expires_at: datetime,
        now: datetime,
    ) -> StateRecord:
        """Claim the nonce for this code and user, if it is new, ``recorded``, ``retry``, or its claim ran out."""
        wanted = StateRecord(
            nonce_hash=nonce_hash,
            code_hash=code_hash,
            user_hash=user_hash,
            outcome="claimed",
            claimant=claimant,
            claim_until=until,
            expires_at=expires_at,
        )
        ran_out = Q(outcome="claimed") & (Q(claim_until__isnull=True) | Q(claim_until__lte=now))
        same = Q(code_hash=code_hash, user_hash=user_hash) & (Q(outcome__in=("recorded", "retry")) | ran_out)
        known = self._state(Q(expires_at__lte=now) | same, wanted)
        with suppress(StoreUnavailable):  # tidying up is no reason to fail
            self.clear_states(now=now, limit=_SWEEP)
        return known

    def finish(self, *, nonce_hash: str, claimant: str, outcome: str) -> bool:
        """End ``claimant``'s claim with ``outcome``; say whether that was done."""
        return self._database.update(
            lambda using: (
                _states(using)
                .filter(nonce_hash=nonce_hash, outcome="claimed", claimant=claimant)
                .update(outcome=outcome, claimant="", claim_until=None)
            ),
            again_if_lost=False,
        )

    def clear_states(self, *, now: datetime, limit: int = 1000) -> int:
        """Delete up to ``limit`` states that have expired by ``now``; return how many were found."""
        gone = self._database.read(
            lambda using: list(
                _states(using).filter(expires_at__lte=now).order_by("expires_at").values_list("pk", flat=True)[:limit]
            )
        )
        if gone:
            self._database.update(lambda using: delete(_states(using).filter(pk__in=gone, expires_at__lte=now), using))
        return len(gone)

    def _state(self, may: Q, wanted: StateRecord) -> StateRecord:
        """Return the nonce's record after an update (if it ``may`` be taken), else after its insertion."""
        values = {name: getattr(wanted, name) for name in STATE}
        this = Q(nonce_hash=wanted.nonce_hash)
        for _ in range(_ROUNDS):
            known = self._database.write_and_read(
                lambda using: _states(using).filter(this, may).update(**values),
                lambda using: _states(using).filter(this).values_list(*STATE).first(),
            )
            if known is not None:
                return record_of(known)
            if self._database.insert(lambda: AmoCRMState(**values)):
                return wanted
        msg = "the table of states refuses the new row (IntegrityError); see whether a constraint was added to it"
        raise StoreUnavailable(msg)


def _states(using: str) -> "QuerySet[AmoCRMState]":
    return AmoCRMState.objects.using(using)
