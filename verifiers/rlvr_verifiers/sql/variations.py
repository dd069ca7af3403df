"""Databases beside the one that is given, on which a query that only happens to be right is wrong.

    half      every second row of each table
    turned    each column's values moved on by another number of rows: other combinations, the same values
    alike     every second row has the values of the one before it; some are missing where the gold speaks of NULL
    edges     numbers and texts that the gold compares with, and the numbers beside them, put into the columns of their type

All follow from the given rows alone, without chance. Keys (primary, unique or foreign) are left as they are. The gold says what is
right on each, whatever sense the data still makes.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError

MAX_DATABASE_BYTES = 4_000_000

_LITERAL = re.compile(r"'((?:[^']|'')*)'|(?<![\w.])(\d{1,15}(?:\.\d{1,15})?)(?![\w.])")

Rows = list[list[Any]]
Change = Callable[[Rows, Sequence[int]], Rows]
"""From a table's rows and the places of its columns that may change to other rows."""


def databases(schema: str, inserts: Sequence[str], gold: str) -> list[bytes]:
    """Every given database, then the variations of each, serialized. Raises VerifierError where one cannot be made."""
    given = [_made(schema, script) for script in inserts]
    changes: tuple[Change, ...] = (
        _half,
        _turned,
        lambda rows, free: _alike(rows, free, with_nulls="null" in gold.lower()),
        lambda rows, free: _edges(rows, free, gold),
    )
    return [*given, *(_varied(database, change) for database in given for change in changes)]


def _made(schema: str, inserts: str) -> bytes:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.set_authorizer(_building)
    steps = iter(range(5_000))
    connection.set_progress_handler(lambda: int(next(steps, None) is None), 1_000)
    try:
        connection.executescript(schema)
        connection.executescript(inserts)
        connection.set_authorizer(None)  # serialize asks for a PRAGMA
        database = connection.serialize()
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        raise VerifierError(f"the database cannot be made: {clip(str(error), 150)}") from None
    finally:
        connection.close()
    if len(database) > MAX_DATABASE_BYTES:
        raise VerifierError(f"a database of {len(database)} bytes is over {MAX_DATABASE_BYTES}")
    return database


def _building(action: int, *_: object) -> int:
    """A task's own script makes tables and rows; files are none of its business."""
    return (
        sqlite3.SQLITE_DENY
        if action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA)
        else sqlite3.SQLITE_OK
    )


def _varied(database: bytes, change: Change) -> bytes:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.deserialize(database)
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall():
            _change_table(connection, name, change)
        return connection.serialize()
    except sqlite3.Error as error:
        raise VerifierError(f"the database cannot be varied: {clip(str(error), 150)}") from None
    finally:
        connection.close()


def _change_table(connection: sqlite3.Connection, name: str, change: Change) -> None:
    table = _quoted(name)
    described = connection.execute(f"PRAGMA table_info({table})").fetchall()
    columns = [row[1] for row in described]
    required = {row[1] for row in described if row[3]}
    keys = _keys(connection, table)
    rows = [list(row) for row in connection.execute(f"SELECT {', '.join(map(_quoted, columns))} FROM {table}")]  # noqa: S608
    before = [list(row) for row in rows]
    changed = change(rows, [place for place, column in enumerate(columns) if column not in keys])
    for place in [place for place, column in enumerate(columns) if column in required]:
        for old, row in zip(before, changed, strict=False):
            row[place] = old[place] if row[place] is None else row[place]
    connection.execute(f"DELETE FROM {table}")  # noqa: S608
    marks = ", ".join("?" * len(columns))
    connection.executemany(f"INSERT INTO {table} ({', '.join(map(_quoted, columns))}) VALUES ({marks})", changed)  # noqa: S608


def _keys(connection: sqlite3.Connection, table: str) -> set[str]:
    primary = {row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]}
    foreign = {row[3] for row in connection.execute(f"PRAGMA foreign_key_list({table})")}
    unique: set[str] = set()
    for row in connection.execute(f"PRAGMA index_list({table})").fetchall():
        if row[2]:
            unique |= {part[2] for part in connection.execute(f"PRAGMA index_info({_quoted(row[1])})")}
    return primary | foreign | unique


def _half(rows: Rows, _free: Sequence[int]) -> Rows:
    return rows[::2]


def _turned(rows: Rows, free: Sequence[int]) -> Rows:
    for step, place in enumerate(free, 1):
        values = [row[place] for row in rows]
        for number, row in enumerate(rows):
            row[place] = values[(number + step) % len(rows)]
    return rows


def _alike(rows: Rows, free: Sequence[int], *, with_nulls: bool) -> Rows:
    for first, second in zip(rows[::2], rows[1::2], strict=False):
        for place in free:
            second[place] = first[place]
    if with_nulls:
        for number, place in enumerate(free):
            for row in rows[number % 3 :: 3]:
                row[place] = None
    return rows


def _edges(rows: Rows, free: Sequence[int], gold: str) -> Rows:
    found = [(text.replace("''", "'"), number) for text, number in _LITERAL.findall(gold)]
    texts = [text for text, number in dict.fromkeys(found) if not number]
    numbers = [_number(number) + by for _, number in dict.fromkeys(found) if number for by in (0, 1, -1)]
    for offset, place in enumerate(free):
        for number, row in enumerate(rows):
            kind = texts if isinstance(row[place], str) else numbers if isinstance(row[place], int | float) else []
            turn = (number + offset) % (len(kind) + 1)
            if turn < len(kind):  # else what was there stays
                row[place] = kind[turn]
    return rows


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
