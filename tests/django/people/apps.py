from django.apps import AppConfig


class PeopleConfig(AppConfig):
    name = "tests.django.people"
    label = "people"
