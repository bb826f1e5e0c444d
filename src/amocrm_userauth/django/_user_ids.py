"""User ids as the API has them (text) and as the site's user model has them (text, UUID or integer)."""

import re
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import models

from amocrm_userauth._core.model import check_user_id

__all__ = ["UserIds"]

_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}(?:\1[0-9a-fA-F]{4}){2}\1[0-9a-fA-F]{12}")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_BITS: "dict[type[models.Field[Any, Any]], int]" = {models.SmallIntegerField: 15, models.BigIntegerField: 63}


class UserIds:
    """Translates between a canonical user id and the primary key of the user model."""

    def __init__(self, user: type[models.Model]) -> None:
        """Read what the key is."""
        key: Any = user._meta.pk  # noqa: SLF001 - Django's documented API
        while key.remote_field is not None:
            key = key.target_field
        self._key = key
        self._bits = next((bits for kind, bits in _BITS.items() if isinstance(key, kind)), 31)
        self.is_text = isinstance(key, models.CharField | models.TextField)

    def native(self, user_id: object) -> Any:
        """Return the primary key. Raises ``ValueError`` if this cannot be one."""
        text = check_user_id(user_id)
        if isinstance(self._key, models.UUIDField):
            if not _UUID.fullmatch(text):
                _refuse("a user id must be a UUID here")
            return UUID(text)
        if isinstance(self._key, models.IntegerField):
            if not _INTEGER.fullmatch(text) or not -(1 << self._bits) <= int(text) < 1 << self._bits:
                _refuse(f"a user id must be an integer of {self._bits + 1} bits here")
            return int(text)
        try:
            return self._key.to_python(text)
        except ValidationError:
            _refuse("a user id must be a primary key of the user model")

    def canonical(self, user_id: object) -> str:
        """Return the one spelling of ``user_id``. Raises ``ValueError`` if it cannot be an id."""
        return check_user_id(str(self.native(user_id)))


def _refuse(message: str) -> "Any":
    raise ValueError(message)
