"""The site's addresses."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from examples.django_site import callers, views

urlpatterns = [
    path("", views.home, name="home"),
    path("login", LoginView.as_view(template_name="login.html"), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("connect", views.connect, name="connect"),
    path("connected", views.connected, name="connected"),
    path("disconnect", views.disconnect, name="disconnect"),
    path("leads", views.leads, name="leads"),
    # for the mobile app
    path("api/token", callers.log_in),
    path("api/leads", views.lead_names),
    path("api/amo-crm/", include("amocrm_userauth.django.urls")),
    path("admin/", admin.site.urls),
]
