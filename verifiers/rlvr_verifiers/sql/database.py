"""One hostile query on one small database, in memory: it can read, compute for a moment, and nothing else.

What holds it: an authorizer that allows reading and functions (no writing, ATTACH, PRAGMA, extensions, chance), SQLite's own limits on
lengths and on the shape of a statement, a count of its machine's steps, processor time, and rows and characters that are taken. Steps
are counted first, so that the same query ends the same way everywhere. A step that would itself never end is left to the process that
a pool kills.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Generator
from typing import Any

from rlvr_verifiers.errors import VerifierError

MAX_STEPS = 5_000_000
"""Of SQLite's machine; about a second."""
MAX_CPU_S = 2.0
MAX_ROWS = 10_000
MAX_CHARACTERS = 1_000_000
"""Of all values of a result."""
MAX_LENGTH = 50_000
"""Of one text or blob, and of a statement."""
HEAP_BYTES = 256 * 2**20
"""Of all of SQLite in this process; can be lowered by a process but not raised again."""

_STEPS_AT_ONCE = 1_000
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_FORBIDDEN_FUNCTIONS = frozenset({"random", "randomblob", "load_extension", "fts3_tokenizer"})
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_LENGTH,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: MAX_LENGTH,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_COLUMN: 200,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 25_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}

Row = tuple[Any, ...]


class QueryError(VerifierError):
    """The query cannot be run. `reason`: error, timeout or too_large."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason, self.message = reason, message

    def __str__(self) -> str:
        return self.message


def run(database: bytes, query: str, *, reverse: bool = False) -> list[Row]:
    """The rows of one SELECT on a serialized database. `reverse`: rows come the other way round where the query leaves it open.

    Raises QueryError for everything that a query can do wrong.
    """
    with _opened(database, reverse=reverse) as (connection, stop):
        try:
            rows = connection.execute(query).fetchmany(MAX_ROWS + 1)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, RecursionError) as error:
            raise QueryError(
                stop[0] if stop else "error", f"the query {'was stopped' if stop else f'fails: {error}'}"
            ) from None
        except MemoryError:
            raise QueryError("too_large", f"the query needs more than {HEAP_BYTES >> 20} MB") from None
    if (
        len(rows) > MAX_ROWS
        or sum(len(value) for row in rows for value in row if isinstance(value, str | bytes)) > MAX_CHARACTERS
    ):
        raise QueryError("too_large", f"the result has over {MAX_ROWS} rows or {MAX_CHARACTERS} characters")
    return rows


@contextlib.contextmanager
def _opened(database: bytes, *, reverse: bool) -> Generator[tuple[sqlite3.Connection, list[str]]]:
    """A copy of the database behind all the walls; the list is filled where the query had to be stopped."""
    stop: list[str] = []
    begin, calls = time.thread_time(), 0

    def over() -> int:
        nonlocal calls
        calls += 1
        if calls * _STEPS_AT_ONCE <= MAX_STEPS and time.thread_time() - begin <= MAX_CPU_S:
            return 0
        stop.append("timeout")
        return 1

    def allowed(action: int, _first: str | None, second: str | None, *_: object) -> int:
        fine = action in _ALLOWED and not (
            action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FORBIDDEN_FUNCTIONS
        )
        return sqlite3.SQLITE_OK if fine else sqlite3.SQLITE_DENY

    connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)
    try:
        connection.deserialize(database)
        connection.execute(f"PRAGMA hard_heap_limit = {HEAP_BYTES}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA reverse_unordered_selects = {int(reverse)}")
        connection.execute("PRAGMA query_only = ON")
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        connection.text_factory = _decoded
        connection.set_progress_handler(over, _STEPS_AT_ONCE)
        connection.set_authorizer(allowed)
        yield connection, stop
    finally:
        connection.close()


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
