"""The two tables. Only the store writes to them: every change is a conditional update (see ``store``)."""

from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID, uuid4

from django.conf import settings
from django.db import models

from amocrm_userauth.django._fields import ExactCharField, SecretTextField, UtcDateTimeField

__all__ = ["AmoCRMState", "AmoCRMToken"]

_ID = 255
_HASH = 128
_WORD = 64


class AmoCRMToken(models.Model):
    """One user's connection to amoCRM. Read it if you like; to change it call ``user_auth()``."""

    id: "models.UUIDField[UUID, UUID]" = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    user: "models.OneToOneField[Any, Any]" = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"
    )
    if TYPE_CHECKING:
        user_id: Any
    access_token: SecretTextField = SecretTextField(editable=False)
    refresh_token: SecretTextField = SecretTextField(editable=False)
    previous_refresh_token: SecretTextField = SecretTextField(null=True, editable=False)
    token_type: "models.CharField[str, str]" = models.CharField(max_length=_WORD)
    code_hash: ExactCharField = ExactCharField(max_length=_HASH, editable=False)
    client_id: ExactCharField = ExactCharField(max_length=_HASH)
    expires_at: UtcDateTimeField = UtcDateTimeField()
    account_id: ExactCharField = ExactCharField(max_length=_WORD)
    amocrm_user_id: ExactCharField = ExactCharField(max_length=_WORD)
    domain: "models.CharField[str, str]" = models.CharField(max_length=_ID)
    api_domain: "models.CharField[str, str]" = models.CharField(max_length=_ID)
    scopes: "models.TextField[str, str]" = models.TextField()
    revision: ExactCharField = ExactCharField(max_length=_WORD, editable=False)
    in_doubt: "models.BooleanField[bool, bool]" = models.BooleanField()
    pair_saved_at: UtcDateTimeField = UtcDateTimeField()
    lease_holder: ExactCharField = ExactCharField(max_length=_HASH, null=True, editable=False)
    lease_until: UtcDateTimeField = UtcDateTimeField(null=True)
    failures: "models.IntegerField[int, int]" = models.IntegerField()
    retry_at: UtcDateTimeField = UtcDateTimeField(null=True)
    failure: "models.CharField[str, str]" = models.CharField(max_length=_ID)
    reauth_reason: "models.CharField[str | None, str | None]" = models.CharField(max_length=_WORD, null=True)  # noqa: DJ001 - NULL is "not refused", as elsewhere
    reauth_at: UtcDateTimeField = UtcDateTimeField(null=True)
    rejected_at: UtcDateTimeField = UtcDateTimeField(null=True)
    created_at: UtcDateTimeField = UtcDateTimeField()
    updated_at: UtcDateTimeField = UtcDateTimeField()

    class Meta:
        """The table's name is that of the other stores."""

        db_table = "amo_crm_tokens"
        verbose_name = "amoCRM connection"
        verbose_name_plural = "amoCRM connections"
        indexes: ClassVar[list[models.Index] | tuple[models.Index, ...]] = (
            models.Index(fields=["pair_saved_at", "user"], name="ix_amo_crm_tokens_due"),
            models.Index(fields=["account_id"], name="ix_amo_crm_tokens_account_id"),
        )

    def __str__(self) -> str:
        """Say whose connection it is, and to which account."""
        return f"{self.user_id}: {self.domain}"


class AmoCRMState(models.Model):
    """One used state (nonce) and the code that came with it: hashes only."""

    nonce_hash: ExactCharField = ExactCharField(max_length=_HASH, primary_key=True)
    code_hash: ExactCharField = ExactCharField(max_length=_HASH)
    user_hash: ExactCharField = ExactCharField(max_length=_HASH)
    outcome: ExactCharField = ExactCharField(max_length=_WORD)
    claimant: ExactCharField = ExactCharField(max_length=_HASH)
    claim_until: UtcDateTimeField = UtcDateTimeField(null=True)
    expires_at: UtcDateTimeField = UtcDateTimeField()

    class Meta:
        """The table's name is that of the other stores."""

        db_table = "amo_crm_states"
        verbose_name = "used amoCRM state"
        verbose_name_plural = "used amoCRM states"
        indexes: ClassVar[list[models.Index] | tuple[models.Index, ...]] = (
            models.Index(fields=["code_hash"], name="ix_amo_crm_states_code_hash"),
            models.Index(fields=["expires_at"], name="ix_amo_crm_states_expires_at"),
        )

    def __str__(self) -> str:
        """Say how its exchange stands."""
        return str(self.outcome)
