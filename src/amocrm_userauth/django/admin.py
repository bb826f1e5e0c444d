"""The connections in Django's admin: to look at, to refresh and to disconnect. Never a token, and nothing to edit."""

# Django's options may be changed at any time, and of these nothing may.
# pyright: reportIncompatibleVariableOverride=false

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.formats import date_format
from django.utils.timezone import localtime
from typing_extensions import override

from amocrm_userauth._core.decisions import grant_dies_at
from amocrm_userauth.django._answers import outside_transactions
from amocrm_userauth.django._service import user_auth
from amocrm_userauth.django._settings import Options
from amocrm_userauth.django.models import AmoCRMToken
from amocrm_userauth.errors import AmoCRMUserAuthError

__all__ = ["AmoCRMTokenAdmin"]

# The classes are generic for type checkers alone.
if TYPE_CHECKING:
    _ModelAdmin: TypeAlias = admin.ModelAdmin[AmoCRMToken]
    _Rows: TypeAlias = QuerySet[AmoCRMToken]
else:
    _ModelAdmin = admin.ModelAdmin
    _Rows = QuerySet

_SECRET = ("access_token", "refresh_token", "previous_refresh_token", "code_hash", "revision", "lease_holder")
_SHOWN = (
    "user",
    "state",
    "reason",
    "domain",
    "account_id",
    "amocrm_user_id",
    "expires",
    "last_refresh",
    "reauth_reason",
    "reauth_at",
    "in_doubt",
    "lease_until",
    "failures",
    "failure",
    "retry_at",
    "api_domain",
    "scopes",
    "client_id",
    "created_at",
    "updated_at",
)
_FILTERS = ("in_doubt", "reauth_reason")
# Seconds for which one request refreshes: a web server's own limit comes soon after.
_PATIENCE = 20.0
_TEMPLATE = "admin/amocrm_userauth/amocrmtoken/disconnect.html"


class StateFilter(admin.SimpleListFilter):
    """Whether the connections work."""

    title: str = "state"
    parameter_name: str = "state"

    @override
    def lookups(self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]") -> list[tuple[str, str]]:
        """Return the choices."""
        return [("connected", "connected"), ("reconnect", "must connect again"), ("failing", "failing for now")]

    @override
    def queryset(self, request: HttpRequest, queryset: _Rows) -> _Rows:
        """Return the rows of the chosen state."""
        now = datetime.now(UTC)
        alive = Q(expires_at__gt=now) | Q(pair_saved_at__gt=_silent_since(now))
        chosen = {
            "connected": Q(reauth_reason=None) & alive,
            "reconnect": ~Q(reauth_reason=None) | ~alive,
            "failing": Q(failures__gt=0),
        }
        return queryset.filter(chosen.get(self.value() or "", Q()))


@admin.register(AmoCRMToken)
class AmoCRMTokenAdmin(_ModelAdmin):
    """Who is connected, and how that stands.

    To see it a member of staff needs the permission *view*, to refresh *change*, to disconnect *delete*. Nobody edits a
    row: every change is a conditional update of the store's.
    """

    list_display: tuple[str, ...] = ("user", "account", "state", "reason", "expires", "last_refresh")
    list_filter: ClassVar[tuple[type[StateFilter] | str, ...]] = (StateFilter, *_FILTERS)
    list_per_page: ClassVar[int] = 50
    show_full_result_count: ClassVar[bool] = False
    ordering: ClassVar[tuple[str, ...]] = ("-pair_saved_at",)
    fields: ClassVar[tuple[str, ...]] = _SHOWN
    readonly_fields: ClassVar[tuple[str, ...]] = _SHOWN
    actions: tuple[str, ...] = ("refresh", "disconnect")
    search_help_text: ClassVar[str] = "Search by user, account or domain"

    @override
    def get_queryset(self, request: HttpRequest) -> _Rows:
        """Return the rows without what is secret: it is not even read."""
        rows = super().get_queryset(request).using(Options.read().value("DATABASE"))
        return rows.defer(*_SECRET).select_related("user")

    @override
    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """Return the account's columns and those that name the user, in this site's user model."""
        user: Any = get_user_model()
        names = {user.USERNAME_FIELD, user.get_email_field_name()} & {field.name for field in user._meta.fields}  # noqa: SLF001 - Django's documented API
        return ["account_id", "amocrm_user_id", "domain", *sorted(f"user__{name}" for name in names)]

    @override
    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow the filters alone: ``?access_token__startswith=`` would tell tokens letter by letter."""
        return lookup.partition("__")[0] in {StateFilter.parameter_name, *_FILTERS}

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: only the user can connect."""
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: AmoCRMToken | None = None) -> bool:
        """Say no: a changed row would be a broken one."""
        return False

    @override
    def has_delete_permission(self, request: HttpRequest, obj: AmoCRMToken | None = None) -> bool:
        """Say no on these pages, which disconnect instead; deleting a user takes their connection along."""
        match = request.resolver_match
        if match is not None and match.url_name and match.url_name.startswith(f"{self.opts.app_label}_"):
            return False
        return super().has_delete_permission(request, obj)

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        """Say whether this member of staff may refresh."""
        return super().has_change_permission(request)

    def has_disconnect_permission(self, request: HttpRequest) -> bool:
        """Say whether this member of staff may disconnect users."""
        return super().has_delete_permission(request)

    @admin.display(description="account", ordering="domain")
    def account(self, row: AmoCRMToken) -> str:
        """Return the account's host and number."""
        return f"{row.domain} ({row.account_id})" if row.account_id else row.domain

    @admin.display(description="last refresh", ordering="pair_saved_at")
    def last_refresh(self, row: AmoCRMToken) -> str:
        """Return when the tokens came."""
        return _shown(row.pair_saved_at)

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, row: AmoCRMToken) -> str:
        """Return when the access token runs out; it is refreshed when somebody needs it."""
        return _shown(row.expires_at)

    @override
    @outside_transactions
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list or do an action: each row's work is stored by itself, whatever ``ATOMIC_REQUESTS`` says."""
        return super().changelist_view(request, extra_context)

    @admin.display(description="state")
    def state(self, row: AmoCRMToken) -> str:
        """Say whether the connection works."""
        if row.reauth_reason or _is_silent(row):
            return "must connect again"
        return "failing for now" if row.failures else "connected"

    @admin.display(description="reason", empty_value="")
    def reason(self, row: AmoCRMToken) -> str:
        """Say why it does not."""
        return row.reauth_reason or ("three months of silence" if _is_silent(row) else row.failure)

    @admin.action(description="Refresh the selected connections", permissions=["refresh"])
    def refresh(self, request: HttpRequest, queryset: _Rows) -> None:
        """Refresh now; also tries a grant once more that was refused before."""
        self._do(request, queryset, user_auth().refresh, "refreshed", "amocrm_refresh_due")

    @admin.action(description="Disconnect the selected users", permissions=["disconnect"])
    def disconnect(self, request: HttpRequest, queryset: _Rows) -> HttpResponse | None:
        """Delete the tokens of the selected users, after a page that asks."""
        if request.POST.get("confirmed") != "yes":
            return self._ask(request, list(queryset))
        self._do(request, queryset, user_auth().disconnect, "disconnected", "amocrm_disconnect")
        return None

    def _do(
        self, request: HttpRequest, queryset: _Rows, work: Callable[[str], object], what: str, command: str
    ) -> None:
        deadline = time.monotonic() + _PATIENCE
        rows, tried, done = list(queryset), 0, 0
        for row in rows:
            if time.monotonic() >= deadline:
                break
            tried += 1
            if self._tell(request, row, work):
                self.log_change(request, row, f"{what.capitalize()}.")
                done += 1
        self._sum_up(request, done, what)
        if tried < len(rows):
            left = f"{len(rows) - tried} were not tried: it took too long. manage.py {command} has the time."
            self.message_user(request, left, messages.WARNING)

    def _ask(self, request: HttpRequest, rows: list[AmoCRMToken]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Disconnect users from amoCRM",
            "opts": self.opts,
            "selected": rows,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, _TEMPLATE, context)

    def _tell(self, request: HttpRequest, row: AmoCRMToken, work: Callable[[str], object]) -> bool:
        """Do it; say whether it was done, and tell why it was not."""
        try:
            work(str(row.user.pk))
        except AmoCRMUserAuthError as error:
            self.message_user(request, f"For {row.user}: {error.message}", messages.ERROR)
            return False
        return True

    def _sum_up(self, request: HttpRequest, done: int, what: str) -> None:
        if done:
            self.message_user(request, f"{done} {what}.", messages.SUCCESS)


def _shown(moment: datetime) -> str:
    return date_format(localtime(moment), "SHORT_DATETIME_FORMAT")


def _is_silent(row: AmoCRMToken) -> bool:
    now = datetime.now(UTC)
    return now >= row.expires_at and now >= grant_dies_at(row.pair_saved_at)


def _silent_since(now: datetime) -> datetime:
    """Return when a pair must have been saved for its refresh token to be dead of silence by ``now``."""
    return max(saved for days in range(88, 94) if grant_dies_at(saved := now - timedelta(days=days)) <= now)
