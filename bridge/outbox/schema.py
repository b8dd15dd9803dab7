"""Opens the outbox' database, with settings that make commits durable, and creates its tables."""

from pathlib import Path
from typing import Final

from bridge.core.errors import OutboxError
from bridge.outbox.sqlite import sqlite3

#: `PRAGMA user_version`: rises with each change of the tables.
VERSION: Final = 1
#: `PRAGMA application_id`: "nemo".
_APPLICATION: Final = 0x6E656D6F
#: Bytes of a page of the database, by default of SQLite.
_PAGE: Final = 4096
_TABLES: Final = """
CREATE TABLE entry(
  seq INTEGER PRIMARY KEY, integration TEXT NOT NULL, key TEXT NOT NULL, begun INTEGER NOT NULL, size INTEGER NOT NULL,
  accepted_ms INTEGER NOT NULL, deadline_ms INTEGER, body BLOB NOT NULL, progress BLOB);
CREATE INDEX entry_key ON entry(integration, key, seq);
CREATE INDEX entry_deadline ON entry(deadline_ms) WHERE deadline_ms IS NOT NULL;
CREATE TABLE letter(
  seq INTEGER PRIMARY KEY, integration TEXT NOT NULL, size INTEGER NOT NULL, at_ms INTEGER NOT NULL,
  body BLOB NOT NULL, death BLOB NOT NULL);
CREATE TABLE known(scope BLOB PRIMARY KEY, seq INTEGER NOT NULL, ended_ms INTEGER, ending BLOB) WITHOUT ROWID;
CREATE INDEX known_ended ON known(ended_ms) WHERE ended_ms IS NOT NULL;
CREATE TABLE asker(seq INTEGER, correlation_id TEXT, PRIMARY KEY(seq, correlation_id)) WITHOUT ROWID;
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES ('next_seq', 1);
"""


def connect(file: Path, *, longest_log: int, factory: "type[sqlite3.Connection] | None" = None) -> "sqlite3.Connection":
    """Open the database; an empty file is given its tables.

    It uses a write-ahead log, and a commit returns when it is on disk (`synchronous=FULL`). There must never be a
    second connection: SQLite 3.40 and others have a fault that needs two.

    Args:
        file: The database.
        longest_log: Bytes of the log after which it is copied into the database.
        factory: The class of the connection; None for SQLite's own.

    Raises:
        OutboxError: The file is damaged, of another program, or of a later version of this one; it was not changed.
    """
    database = sqlite3.connect(
        file,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        factory=factory or sqlite3.Connection,
    )
    try:
        _prepare(database, file, longest_log)
    except sqlite3.Error as error:
        database.close()
        raise OutboxError(
            f"outbox {file} cannot be used: {error}; what it holds is not thrown away: mend it, or move the file "
            "(and those beside it) to another place to begin anew"
        ) from None
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: "sqlite3.Connection", file: Path, longest_log: int) -> None:
    database.execute("PRAGMA locking_mode=EXCLUSIVE")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != _APPLICATION:
        raise OutboxError(f"outbox {file}: the file is another program's database")
    if version > VERSION:
        raise OutboxError(
            f"outbox {file}: written by a later version of nemo-bridge (format {version}, this one knows {VERSION})"
        )
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("PRAGMA journal_size_limit=67108864")
    database.execute(f"PRAGMA wal_autocheckpoint={max(1, longest_log // _PAGE)}")
    database.execute("PRAGMA temp_store=MEMORY")  # a disk that is full has no room for temporary files either
    if not tables:
        database.executescript(
            f"BEGIN; {_TABLES} PRAGMA application_id={_APPLICATION}; PRAGMA user_version={VERSION}; COMMIT;"
        )
