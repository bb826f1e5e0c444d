"""User models whose primary keys are not numbers."""

from uuid import uuid4

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models


class UUIDUser(AbstractBaseUser):
    id = models.UUIDField(primary_key=True, default=uuid4)
    username = models.CharField(max_length=150, unique=True)
    objects = BaseUserManager()
    USERNAME_FIELD = "username"


class TextUser(AbstractBaseUser):
    name = models.CharField(max_length=255, primary_key=True)
    objects = BaseUserManager()
    USERNAME_FIELD = "name"


class Person(models.Model):
    number = models.BigIntegerField(primary_key=True)

    def __str__(self) -> str:
        return str(self.number)


class PersonUser(AbstractBaseUser):
    person = models.OneToOneField(Person, primary_key=True, on_delete=models.CASCADE)
    username = models.CharField(max_length=150, unique=True)
    objects = BaseUserManager()
    USERNAME_FIELD = "username"
