"""What a query has to give: the gold's rows on every database, worked out once for a task.

    answer: {"query": "SELECT ...", "schema": "CREATE TABLE ...;", "databases": ["INSERT ...;", ...]}

Rows are compared as a multiset, and in their order where the gold's outermost SELECT has ORDER BY; among rows that it does not tell
apart any order is right. A whole float is the integer, and floats agree to ten digits. Names of columns do not matter, their order does.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, cast

from rlvr_verifiers.arguments import clip
from rlvr_verifiers.errors import VerifierError
from rlvr_verifiers.sql.database import QueryError, Row, run
from rlvr_verifiers.sql.variations import databases
from rlvr_verifiers.strict_json import JsonError, loads

_TOKENS = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/|[()]|\border\s+by\b|\blimit\b",
    re.IGNORECASE | re.DOTALL,
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """The gold's rows on one database."""

    database: bytes
    rows: tuple[Row, ...]
    blocks: tuple[int, ...] | None
    """Where each run of rows that may change places ends; None where order does not count."""

    def problem(self, found: Sequence[Row]) -> str | None:
        """Why these rows are not the gold's, as a reason."""
        if found and self.rows and len(found[0]) != len(self.rows[0]):
            return "columns"
        if Counter(found) != Counter(self.rows):
            return "mismatch"
        start = 0
        for end in self.blocks or ():
            if Counter(found[start:end]) != Counter(self.rows[start:end]):
                return "order"
            start = end
        return None


@functools.lru_cache(maxsize=128)
def read_gold(answer: str) -> tuple[str, tuple[Expected, ...]]:
    """The query and what it gives. Raises VerifierError, in one line, where it cannot be judged by."""
    query, schema, inserts = _fields(answer)
    try:
        all_expected = [_expected(database, query) for database in databases(schema, inserts, query)]
    except QueryError as error:
        raise _bad(f"its own {error}") from None
    except VerifierError as error:
        raise _bad(str(error)) from None
    expected = tuple(each for each in all_expected if each is not None)
    if not expected:
        raise _bad("its result depends on the order in which rows are stored (LIMIT among equals?)")
    if not any(each.rows for each in expected):
        raise _bad("it gives no rows on any database, so any empty result would pass")
    if len({each.rows for each in expected}) == 1:
        raise _bad("it gives the same rows on every database, so that writing them down would pass; add databases")
    return query, expected


def canonical(rows: Sequence[Row]) -> list[Row]:
    return [tuple(_canonical(value) for value in row) for row in rows]


def order_of(query: str) -> tuple[int, int] | None:
    """Where the text behind the outermost ORDER BY's terms begins and ends: "", or its LIMIT. None without ORDER BY."""
    depth, ordered, behind = 0, False, None
    for match in _TOKENS.finditer(query):
        token = match[0].lower()
        depth += (token == "(") - (token == ")")
        if depth == 0 and token.startswith("order"):
            ordered, behind = True, None
        elif depth == 0 and token == "limit":
            behind = match.start()
    end = len(query.rstrip().rstrip(";"))
    return (end if behind is None else behind, end) if ordered else None


def _expected(database: bytes, query: str) -> Expected | None:
    """None where the rows, or which of them, hang on how they are stored."""
    rows, turned = canonical(run(database, query)), canonical(run(database, query, reverse=True))
    place, others = order_of(query), turned
    if place is not None and rows:
        rising, falling = (_decided(query, place, len(rows[0]), way) for way in ("ASC", "DESC"))
        rows, others = canonical(run(database, rising)), canonical(run(database, falling))
        turned = canonical(run(database, rising, reverse=True))
    if not Counter(rows) == Counter(others) == Counter(turned):
        return None
    return Expected(database=database, rows=tuple(rows), blocks=None if place is None else tuple(_blocks(rows, others)))


def _decided(query: str, place: tuple[int, int], columns: int, way: str) -> str:
    """The query with its columns as further terms of its ORDER BY: what it leaves open is decided one way or the other."""
    terms = ", ".join(f"{column} {way}" for column in range(1, columns + 1))
    return f"{query[: place[0]]}\n, {terms} {query[place[0] : place[1]]}"


def _blocks(rows: Sequence[Row], others: Sequence[Row]) -> Iterator[int]:
    """The ends of the shortest runs in which both hold the same rows."""
    balance: Counter[Row] = Counter()
    for end, (row, other) in enumerate(zip(rows, others, strict=True), 1):
        balance[row] += 1
        balance[other] -= 1
        for each in (row, other):
            if not balance[each]:
                del balance[each]
        if not balance:
            yield end


def _canonical(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    rounded = float(f"{value:.10g}")
    return int(rounded) if rounded.is_integer() else rounded


def _fields(answer: str) -> tuple[str, str, list[str]]:
    try:
        data: Any = loads(answer)
    except JsonError as error:
        raise _bad(f"it is not strict JSON ({error})") from None
    fields = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    if fields.keys() != {"query", "schema", "databases"}:
        raise _bad("it is no object of query, schema and databases")
    listed = fields["databases"]
    inserts = cast("list[Any]", listed) if isinstance(listed, list) else []
    texts = [fields["query"], fields["schema"], *inserts]
    if not inserts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise _bad("query and schema have to be texts, databases a list of texts, each the INSERTs of one database")
    return fields["query"], fields["schema"], inserts


def _bad(problem: str) -> VerifierError:
    return VerifierError(f"the gold of a sql task cannot be used: {clip(problem, 300)}")
