"""The site's pages: connect, come back, look at the leads, disconnect."""

from typing import Any

import httpx
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from amocrm_userauth.django import amocrm_client, async_amocrm_client, user_auth
from amocrm_userauth.errors import CallbackError, TemporarilyUnavailable
from examples.django_site.amocrm import async_transport, transport


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Show how the user's connection stands."""
    return render(request, "home.html", {"status": user_auth().status(str(request.user.pk))})


@require_POST
@login_required
def connect(request: HttpRequest) -> HttpResponse:
    """Send the browser to amoCRM's consent page."""
    return redirect(user_auth().begin(str(request.user.pk)).url)


@login_required
def connected(request: HttpRequest) -> HttpResponse:
    """Take the answer that ``callback`` passed on. The state in it proves that it is this user's."""
    query = request.GET
    if "error" in query:
        messages.warning(request, "amoCRM was not connected: you did not allow it.")
        return redirect("home")
    try:
        user_auth().connect(
            str(request.user.pk),
            code=query.get("code", ""),
            state=query.get("state"),
            referer=query.get("referer"),
        )
    except (CallbackError, TemporarilyUnavailable) as error:
        messages.error(request, error.message)
    return redirect("home")


@require_POST
@login_required
def disconnect(request: HttpRequest) -> HttpResponse:
    """Forget the user's tokens."""
    user_auth().disconnect(str(request.user.pk))
    return redirect("home")


@login_required
def leads(request: HttpRequest) -> HttpResponse:
    """Show a page of the leads that the user sees at amoCRM."""
    with amocrm_client(request, transport=transport()) as amocrm:
        found = _leads(amocrm.get("/api/v4/leads", params={"page": request.GET.get("page", "1")}))
    return render(request, "leads.html", {"leads": found})


async def lead_names(request: HttpRequest) -> HttpResponse:
    """Return the same as JSON from an async view, for the site and for the mobile app."""
    async with async_transport() as http, async_amocrm_client(request, transport=http) as amocrm:
        found = _leads(await amocrm.get("/api/v4/leads"))
    return JsonResponse({"leads": [lead["name"] for lead in found]})


def _leads(response: httpx.Response) -> list[dict[str, Any]]:
    if response.status_code == httpx.codes.NO_CONTENT:
        return []
    found: list[dict[str, Any]] = response.raise_for_status().json()["_embedded"]["leads"]
    return found
