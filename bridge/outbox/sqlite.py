"""SQLite for the outbox. It takes a megabyte, so it is imported when a database is opened."""

from typing import TYPE_CHECKING

from bridge.core.lean import later

if TYPE_CHECKING:
    import sqlite3
else:
    sqlite3 = later("sqlite3")

__all__ = ["sqlite3"]
