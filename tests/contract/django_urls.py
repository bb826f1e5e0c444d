"""The addresses of the contract's site: both mounts."""

from django.urls import include, path

urlpatterns = [
    path("api/amo-crm/", include("amocrm_userauth.django.urls")),
    path("api/v1/integrations/amo-crm/", include("amocrm_userauth.django.urls", namespace="amocrm-v1")),
]
