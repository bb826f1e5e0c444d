"""Equality to the last byte, also where a collation is looser: MariaDB's default finds ``bob`` for ``'Bob '``."""

from typing import Any

from sqlalchemy import Boolean, ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

__all__ = ["exactly"]


class exactly(FunctionElement[bool]):  # noqa: N801 - it reads as a function in statements
    """``exactly(column, value)``: what a loose collation lets through besides ``column = value`` is out."""

    inherit_cache = True
    type = Boolean()


def _sides(element: exactly, compiler: SQLCompiler, **options: Any) -> tuple[str, str]:
    left, right = (compiler.process(side, **options) for side in _clauses(element))
    return left, right


def _clauses(element: exactly) -> list[ColumnElement[Any]]:
    return list(element.clauses)


@compiles(exactly)
def _postgresql(element: exactly, compiler: SQLCompiler, **options: Any) -> str:
    left, right = _sides(element, compiler, **options)
    return f'{left} = ({right} COLLATE "C")'


@compiles(exactly, "sqlite")
def _sqlite(element: exactly, compiler: SQLCompiler, **options: Any) -> str:
    left, right = _sides(element, compiler, **options)
    return f"{left} = ({right} COLLATE BINARY)"


@compiles(exactly, "mysql")
@compiles(exactly, "mariadb")
def _mysql(element: exactly, compiler: SQLCompiler, **options: Any) -> str:
    left, right = (f"CAST(CONVERT({side} USING utf8mb4) AS BINARY)" for side in _sides(element, compiler, **options))
    return f"{left} = {right}"
