"""A site with the admin, its staff, and users whose connections stand differently."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Permission
from django.urls import include, path

from amocrm_userauth.django import user_auth
from amocrm_userauth.testing import FakeAmoCRM
from tests.contract.django_sites import site
from tests.django import kit

urlpatterns = [path("admin/", admin.site.urls), path("api/amo-crm/", include("amocrm_userauth.django.urls"))]

PASSWORD = "example-password"
STATES = ("anna", "boris", "clara", "dmitri")


@contextmanager
def administered(fake: FakeAmoCRM) -> Iterator[None]:
    """Run the site for a ``with`` block."""
    with site(fake, __name__):
        yield


def staff(name: str, *permissions: str) -> Any:
    """Make a member of staff with these permissions on connections and users; ``*`` makes a superuser."""
    users = kit.get_user_model().objects
    if permissions == ("*",):
        return users.create_superuser(name, password=PASSWORD)
    user = users.create_user(name, password=PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def connect(fake: FakeAmoCRM, name: str) -> Any:
    """Make a user and connect them; return their row."""
    from amocrm_userauth.django.models import AmoCRMToken

    user = kit.make_user(name)
    kit.get_user_model().objects.filter(pk=user).update(username=name)
    answer = fake.callback(name, state=user_auth().begin(user).state)
    user_auth().connect(user, code=answer["code"], state=answer["state"], referer=answer["referer"])
    return AmoCRMToken.objects.get(user_id=kit.key(name))


def everybody(fake: FakeAmoCRM) -> dict[str, Any]:
    """Connect four users, three of whom have got into trouble since."""
    rows = {name: connect(fake, name) for name in STATES}
    now = datetime.now(UTC)
    set_row(rows["boris"], reauth_reason="revoked", reauth_at=now)
    set_row(rows["clara"], failures=3, failure="amoCRM answered 503", retry_at=now + timedelta(minutes=4))
    set_row(rows["dmitri"], expires_at=now - timedelta(days=99), pair_saved_at=now - timedelta(days=100))
    return rows


def set_row(row: Any, **changes: object) -> None:
    """Change a row past the library."""
    type(row).objects.filter(pk=row.pk).update(**changes)
