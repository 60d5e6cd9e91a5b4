"""Each statement is put into words once a process, and not for each state database: a test has its own.

SQLAlchemy keeps what it compiled with the engine. The product has one engine for as long as a process lives;
here there are thousands, on the same tables of the same SQLite, and a fifth of their time was this.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import Engine
from sqlalchemy.util import LRUCache


class _Compiled:
    """What an engine has compiled: one for all of SQLite, and of its own for another database."""

    def __init__(self) -> None:
        self._of_sqlite: LRUCache[Any, Any] = LRUCache(2000)

    def __get__(self, engine: Engine | None, owner: type[Engine]) -> Any:
        if engine is None:
            return self
        return self._of_sqlite if isinstance(engine.dialect, SQLiteDialect) else vars(engine)["_compiled"]

    def __set__(self, engine: Engine, value: Any) -> None:
        vars(engine)["_compiled"] = value


def share() -> None:
    """Have all engines of SQLite in this process, and in those that it forks, know what one has compiled."""
    Engine._compiled_cache = _Compiled()  # type: ignore[assignment]
    SQLiteDialect.__eq__ = _alike  # type: ignore[method-assign, assignment]
    SQLiteDialect.__hash__ = lambda dialect: hash(type(dialect))  # type: ignore[method-assign]


def _alike(dialect: SQLiteDialect, other: object) -> bool:
    return type(dialect) is type(other)


def pytest_configure() -> None:
    """Do so in each process of the tests."""
    share()
