"""The addresses of the endpoints, for ``include("amocrm_userauth.django.urls")``.

::

    urlpatterns: list[URLPattern] = [
        path("api/amo-crm/", include("amocrm_userauth.django.urls")),
        # a second mount needs a name of its own
        path("api/v1/integrations/amo-crm/", include("amocrm_userauth.django.urls", namespace="amocrm-v1")),
    ]
"""

from django.urls import URLPattern, path

from amocrm_userauth.django import views

__all__ = ["app_name", "urlpatterns"]

app_name: str = "amocrm_userauth"
urlpatterns: list[URLPattern] = [
    path("status", views.status, name="status"),
    path("authorize-url", views.authorize_url, name="authorize-url"),
    path("exchange-code", views.exchange_code, name="exchange-code"),
    path("disconnect", views.disconnect, name="disconnect"),
    path("callback", views.callback, name="callback"),
]
