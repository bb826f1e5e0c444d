"""User ids as the API has them (text) and as the table has them (text, UUID or integer)."""

import re
from contextlib import suppress
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, SmallInteger, Table, Uuid
from sqlalchemy.types import TypeDecorator, TypeEngine

from amocrm_userauth._core.model import check_user_id
from amocrm_userauth.errors import ConfigurationError

__all__ = ["UserIds"]

_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}(?:\1[0-9a-fA-F]{4}){2}\1[0-9a-fA-F]{12}")
_INTEGER = re.compile(r"-?[0-9]{1,19}")


class UserIds:
    """Translates between a canonical user id and the value of the table's ``user_id`` column."""

    def __init__(self, table: Table) -> None:
        """Read what the column is. Raises ``ConfigurationError`` for a type that cannot hold a user id."""
        kind: TypeEngine[Any] = table.c.user_id.type
        python = _python_type(kind)
        self.is_text = False
        self._as_uuid = python is UUID
        self._bits = 0
        if self._as_uuid or isinstance(kind, Uuid):
            self.canonical = _canonical_uuid
        elif python is int:
            self._bits = 63 if isinstance(kind, BigInteger) else 15 if isinstance(kind, SmallInteger) else 31
            self.canonical = self._canonical_integer
        elif python is str:
            self.is_text = True
            self.canonical = check_user_id
        else:
            msg = f"user_id_type must be a text, UUID or integer type, not {type(kind).__name__}"
            raise ConfigurationError(msg)

    def native(self, canonical: str) -> object:
        """Return what the column holds for a canonical id."""
        if self._as_uuid:
            return UUID(canonical)
        return int(canonical) if self._bits else canonical

    def _canonical_integer(self, user_id: object) -> str:
        text = check_user_id(user_id)
        if not _INTEGER.fullmatch(text) or not -(1 << self._bits) <= int(text) < 1 << self._bits:
            msg = f"a user id must be an integer of {self._bits + 1} bits here"
            raise ValueError(msg)
        return str(int(text))


def _canonical_uuid(user_id: object) -> str:
    text = check_user_id(user_id)
    if not _UUID.fullmatch(text):
        msg = "a user id must be a UUID here"
        raise ValueError(msg)
    return str(UUID(text))


def _python_type(kind: TypeEngine[Any]) -> object:
    python: object = None
    with suppress(NotImplementedError):
        python = kind.python_type
    if python in {str, int, UUID} or not isinstance(kind, TypeDecorator):
        return python
    return _python_type(kind.impl_instance)
