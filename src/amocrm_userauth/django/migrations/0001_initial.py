"""The two tables."""

from collections.abc import Sequence
from typing import ClassVar
from uuid import uuid4

from django.conf import settings
from django.db import migrations, models
from django.db.migrations.operations.base import Operation

from amocrm_userauth.django._fields import ExactCharField, SecretTextField, UtcDateTimeField


class Migration(migrations.Migration):
    """Make them."""

    initial: ClassVar[bool | None] = True

    dependencies: ClassVar[Sequence[tuple[str, str]]] = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations: ClassVar[Sequence[Operation]] = [
        migrations.CreateModel(
            name="AmoCRMState",
            fields=[
                ("nonce_hash", ExactCharField(max_length=128, primary_key=True, serialize=False)),
                ("code_hash", ExactCharField(max_length=128)),
                ("user_hash", ExactCharField(max_length=128)),
                ("outcome", ExactCharField(max_length=64)),
                ("claimant", ExactCharField(max_length=128)),
                ("claim_until", UtcDateTimeField(null=True)),
                ("expires_at", UtcDateTimeField()),
            ],
            options={
                "verbose_name": "used amoCRM state",
                "verbose_name_plural": "used amoCRM states",
                "db_table": "amo_crm_states",
                "indexes": [
                    models.Index(fields=["code_hash"], name="ix_amo_crm_states_code_hash"),
                    models.Index(fields=["expires_at"], name="ix_amo_crm_states_expires_at"),
                ],
            },
        ),
        migrations.CreateModel(
            name="AmoCRMToken",
            fields=[
                ("id", models.UUIDField(default=uuid4, editable=False, primary_key=True, serialize=False)),
                ("access_token", SecretTextField(editable=False)),
                ("refresh_token", SecretTextField(editable=False)),
                ("previous_refresh_token", SecretTextField(editable=False, null=True)),
                ("token_type", models.CharField(max_length=64)),
                ("code_hash", ExactCharField(editable=False, max_length=128)),
                ("client_id", ExactCharField(max_length=128)),
                ("expires_at", UtcDateTimeField()),
                ("account_id", ExactCharField(max_length=64)),
                ("amocrm_user_id", ExactCharField(max_length=64)),
                ("domain", models.CharField(max_length=255)),
                ("api_domain", models.CharField(max_length=255)),
                ("scopes", models.TextField()),
                ("revision", ExactCharField(editable=False, max_length=64)),
                ("in_doubt", models.BooleanField()),
                ("pair_saved_at", UtcDateTimeField()),
                ("lease_holder", ExactCharField(editable=False, max_length=128, null=True)),
                ("lease_until", UtcDateTimeField(null=True)),
                ("failures", models.IntegerField()),
                ("retry_at", UtcDateTimeField(null=True)),
                ("failure", models.CharField(max_length=255)),
                ("reauth_reason", models.CharField(max_length=64, null=True)),
                ("reauth_at", UtcDateTimeField(null=True)),
                ("rejected_at", UtcDateTimeField(null=True)),
                ("created_at", UtcDateTimeField()),
                ("updated_at", UtcDateTimeField()),
                ("user", models.OneToOneField(on_delete=models.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL)),
            ],
            options={
                "verbose_name": "amoCRM connection",
                "verbose_name_plural": "amoCRM connections",
                "db_table": "amo_crm_tokens",
                "indexes": [
                    models.Index(fields=["pair_saved_at", "user"], name="ix_amo_crm_tokens_due"),
                    models.Index(fields=["account_id"], name="ix_amo_crm_tokens_account_id"),
                ],
            },
        ),
    ]
