"""The sql verifier: every labelled query of `verifiers/cases/sql`, golds that cannot be judged by, walls, its task source."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from rlvr_tasks.errors import TaskError
from rlvr_tasks.sources.sql import sql
from rlvr_verifiers.registry import check_task, resolve
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.sql import gold_completion
from rlvr_verifiers.sql.database import QueryError, run
from rlvr_verifiers.sql.gold import order_of
from rlvr_verifiers.sql.variations import databases
from rlvr_verifiers.types import Completion, Score, Task

FOLDER = Path(__file__).parents[2] / "verifiers/cases/sql"
CASES = [json.loads(line) for line in (FOLDER / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
GIVEN = json.loads((FOLDER / "database.json").read_text(encoding="utf-8"))
SCHEMA, (ROWS,) = GIVEN["schema"], GIVEN["databases"]


def task(gold: str, schema: str = SCHEMA, *inserts: str) -> Task:
    answer = json.dumps({"query": gold, "schema": schema, "databases": inserts or [ROWS]})
    return Task(id="s", prompt=(), verifier="sql", answer=answer)


def judge(gold: str, query: str) -> Score:
    return score_now(task(gold), Completion(text=f"```sql\n{query}\n```"))


def test_labelled_queries() -> None:
    wrong = [
        (case["why"], case["text"][:200], score.reason, score.explanation)
        for case in CASES
        if (score := score_now(task(case["gold"]), Completion(text=case["text"]))).passed != case["passes"]
        or score.reason != case["reason"]
    ]
    assert not wrong, wrong


def test_every_reason_has_cases_and_every_gold_passes() -> None:
    assert {case["reason"] for case in CASES} == resolve("sql").reasons
    for gold in {case["gold"] for case in CASES}:
        assert check_task(task(gold)) is None
        assert score_now(task(gold), gold_completion(task(gold))).passed


@pytest.mark.parametrize(
    ("gold", "words"),
    [
        ("SELECT name FROM people WHERE 1 = 0", "no rows"),
        ("SELECT 1", "the same rows on every database"),
        ("SELECT name FROM people LIMIT 2", "order in which rows are stored"),
        (
            "SELECT name FROM people WHERE id IN (SELECT id FROM people LIMIT 2) ORDER BY name",
            "order in which rows are stored",
        ),
        ("SELECT name FROM nobody", "no such table"),
        ("DELETE FROM people", "not authorized"),
        ("SELECT name FROM people; SELECT 1", "one statement"),
    ],
)
def test_golds_that_nothing_can_be_judged_by_are_refused(gold: str, words: str) -> None:
    problem = check_task(task(gold))
    assert problem is not None
    assert words in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("schema", "inserts", "words"),
    [
        ("CREATE TABLE t (n);", "INSERT INTO u VALUES (1)", "no such table"),
        ("CREATE TABLE t (n);", "ATTACH '/tmp/rlvr-sql-test' AS x", "not authorized"),
        ("CREATE TABLE t (n);", "PRAGMA journal_mode = WAL", "not authorized"),
        (
            "CREATE TABLE t (n);",
            "INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
            "interrupted",
        ),
        ("", "INSERT INTO t VALUES (1)", "have to be texts"),
    ],
)
def test_databases_that_cannot_be_made_are_refused(schema: str, inserts: str, words: str) -> None:
    problem = check_task(task("SELECT n FROM t", schema, inserts))
    assert problem is not None
    assert words in problem


def test_an_answer_of_another_shape_is_refused() -> None:
    for answer in ("", "[]", '{"query": "SELECT 1"}', '{"query": "SELECT 1", "schema": "x", "databases": []}'):
        assert check_task(Task(id="s", prompt=(), verifier="sql", answer=answer)) is not None


def test_only_some_databases_have_to_give_rows() -> None:
    empty_here = "SELECT name FROM people WHERE age > 90"
    assert check_task(task(empty_here)) is None  # on the database of edges somebody is 91
    assert judge(empty_here, "SELECT name FROM people WHERE age >= 91").passed
    assert judge(empty_here, "SELECT name FROM people WHERE 1 = 0").reason == "mismatch"


def test_several_databases_are_all_used() -> None:
    schema = "CREATE TABLE t (n INTEGER PRIMARY KEY)"
    both = task("SELECT n FROM t WHERE n % 2", schema, "INSERT INTO t VALUES (1), (3)", "INSERT INTO t VALUES (4), (5)")
    assert score_now(both, Completion(text="```sql\nSELECT n FROM t\n```")).reason == "mismatch"
    assert score_now(both, gold_completion(both)).passed


def test_keys_and_required_columns_survive_the_variations() -> None:
    schema = (
        "CREATE TABLE a (id INTEGER PRIMARY KEY, code TEXT UNIQUE, size INTEGER NOT NULL CHECK (size < 5));"
        "CREATE TABLE b (a INTEGER REFERENCES a (id), note TEXT, PRIMARY KEY (a, note)) WITHOUT ROWID;"
    )
    rows = "INSERT INTO a VALUES (1, 'x', 1), (2, 'y', 2), (3, 'z', 3); INSERT INTO b VALUES (1, 'n'), (3, 'm');"
    made = databases(schema, [rows], "SELECT * FROM a WHERE size IS NOT NULL AND size > 40")
    assert len(made) == 5
    for database in made:
        assert {row[0] for row in run(database, "SELECT id FROM a")} <= {1, 2, 3}
        assert run(database, "SELECT count(*) FROM a WHERE size IS NULL") == [(0,)]
    assert made == databases(schema, [rows], "SELECT * FROM a WHERE size IS NOT NULL AND size > 40")  # without chance


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("SELECT a FROM t ORDER  BY a", True),
        ("SELECT a FROM t order by a LIMIT 3;", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a)", False),
        ("SELECT 'order by' FROM t -- order by a", False),
        ('SELECT "order by" /* order by */ FROM t', False),
    ],
)
def test_only_the_outermost_order_counts(query: str, ordered: bool) -> None:
    assert (order_of(query) is not None) == ordered


def test_ties_below_a_limit_are_no_ground_to_judge_on() -> None:
    """Two are 35 years old; which of them is third is nobody's to say, so that database is left out."""
    gold = "SELECT name FROM people ORDER BY age DESC LIMIT 2"
    assert check_task(task(gold)) is None
    assert judge(gold, "SELECT name FROM people ORDER BY age DESC, name DESC LIMIT 2").passed
    assert not judge(gold, "SELECT name FROM people ORDER BY age LIMIT 2").passed


@pytest.mark.parametrize(
    "query",
    [
        "WITH RECURSIVE c(x, y) AS (SELECT 1, hex(zeroblob(20000)) UNION ALL SELECT x + 1, y FROM c) SELECT y FROM c ORDER BY x DESC",
        "SELECT count(*) FROM people a, people b, people c, people d, people e, people f, people g, people h, people i, people j",
        "SELECT instr(hex(zeroblob(20000)), hex(zeroblob(10000)) || '1') FROM people a, people b, people c, people d",
        "SELECT hex(zeroblob(20000)) LIKE '" + "%0" * 90 + "1' FROM people",
        "SELECT hex(zeroblob(20000)) GLOB '" + "*0" * 90 + "1' FROM people",
    ],
)
def test_no_query_takes_long_or_much(query: str) -> None:
    begin = time.thread_time()
    assert judge("SELECT name FROM people WHERE age > 30", query).value == 0.0
    assert time.thread_time() - begin < 4.5


def test_a_database_is_never_changed_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    (first, *_) = databases(SCHEMA, [ROWS], "SELECT 1")
    for query in ("UPDATE people SET age = 1", "CREATE TABLE z (a)", "ATTACH 'x.db' AS x", "SELECT writefile('x', 'y')"):
        with pytest.raises(QueryError):
            run(first, query)
    run(first, "SELECT a.name FROM people a, people b, people c ORDER BY b.age, c.city")
    assert run(first, "SELECT sum(age) FROM people") == [(162,)]
    assert not list(tmp_path.iterdir())


def test_the_trainer_s_own_connections_are_as_they_were() -> None:
    judge("SELECT name FROM people WHERE age > 30", "SELECT random()")
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a)")
    assert connection.execute("SELECT random()").fetchone() is not None
    connection.close()


ROW: dict[str, Any] = {
    "id": 3,
    "question": "Who is over 30?",
    "schema": SCHEMA,
    "inserts": [ROWS, "INSERT INTO people VALUES (1, 'Z', 99, 'X');"],
    "query": "SELECT name FROM people WHERE age > 30",
}


def written(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def test_source_shows_one_database_and_keeps_the_others(tmp_path: Path) -> None:
    (made,) = sql(path=written(tmp_path, ROW))
    content = made.prompt[0]["content"]
    assert made.id == "sql/3"
    assert "Cy" in content
    assert "'Z'" not in content
    assert len(json.loads(made.answer)["databases"]) == 2
    assert check_task(made) is None


def test_source_refuses_or_drops_rows_that_cannot_be_judged(tmp_path: Path) -> None:
    path = written(tmp_path, ROW, {**ROW, "id": 4, "query": "SELECT 1"})
    assert [each.id for each in sql(path=path, unreadable="drop")] == ["sql/3"]
    with pytest.raises(TaskError, match="schema is NoneType"):
        sql(path=written(tmp_path, {**ROW, "schema": None}))
