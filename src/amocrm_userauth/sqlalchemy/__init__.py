"""Tokens and states in the application's SQL database: SQLite, PostgreSQL, MariaDB or MySQL.

Needs the extra ``sqlalchemy``; the async store ``sqlalchemy-async``. Importing this module, and using the sync store,
needs neither asyncio's part of SQLAlchemy nor greenlet.
"""

from amocrm_userauth.sqlalchemy._async.store import AsyncSQLAlchemyTokenStore
from amocrm_userauth.sqlalchemy._sync.store import SQLAlchemyTokenStore
from amocrm_userauth.sqlalchemy.tables import create_schema, state_table, token_table

__all__ = [
    "AsyncSQLAlchemyTokenStore",
    "SQLAlchemyTokenStore",
    "create_schema",
    "state_table",
    "token_table",
]
