"""Equality to the last byte, also where a collation is looser: MariaDB's default finds ``bob`` for ``'Bob '``."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, F, Func, Value
from django.db.models.sql.compiler import SQLCompiler

__all__ = ["Exactly"]


class Exactly(Func):
    """``Exactly("column", value)``: what a loose collation lets through besides ``column = value`` is out."""

    template = "%(expressions)s"
    arg_joiner = " = "

    def __init__(self, column: str, value: str) -> None:
        """Compare text columns only."""
        super().__init__(F(column), Value(value), output_field=BooleanField())

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *_: Any, **__: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """Name the collation that compares bytes."""
        collation = '"C"' if connection.vendor == "postgresql" else "BINARY"
        return super().as_sql(compiler, connection, template=f"(%(expressions)s COLLATE {collation})")

    def as_mysql(self, compiler: SQLCompiler, *_: Any, **__: Any) -> Any:
        """Compare the bytes themselves."""
        sides = [compiler.compile(side) for side in self.get_source_expressions()]
        sql = " = ".join(f"CAST(CONVERT({side} USING utf8mb4) AS BINARY)" for side, _ in sides)
        return f"({sql})", [value for _, values in sides for value in values]
