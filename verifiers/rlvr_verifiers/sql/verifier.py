"""`sql`: the last fenced query of the reply gives, on every database, the rows that the gold gives.

The databases are the given ones and variations of them (`variations.py`), each read both ways round, so that a query which gives the same
rows, or the same order, by luck fails. A query runs in memory, reading only, within bounds (`database.py`); golds that give nothing, or the
same everywhere, are refused.
"""

from __future__ import annotations

from rlvr_verifiers.arguments import ArgumentReader, clip
from rlvr_verifiers.code.extract import program_of
from rlvr_verifiers.response import MAX_SCANNED, final_text
from rlvr_verifiers.sql.database import MAX_LENGTH, QueryError, run
from rlvr_verifiers.sql.gold import canonical, read_gold
from rlvr_verifiers.types import Completion, Score, Task

EXPLAINED = {
    "columns": "another number of columns than the gold",
    "mismatch": "other rows than the gold's",
    "order": "the gold's rows in another order",
}


class Sql:
    reasons = frozenset({"ok", "no_answer", "too_large", "error", "timeout", "columns", "mismatch", "order"})

    def check_task(self, task: Task) -> str | None:
        ArgumentReader("sql", task.verifier_args).finish()
        read_gold(task.answer)
        return None

    def score(self, task: Task, completion: Completion) -> Score:
        ArgumentReader("sql", task.verifier_args).finish()
        _, expected = read_gold(task.answer)
        text = final_text(completion)
        block = None if text is None else program_of(text[-MAX_SCANNED:], "sql")
        if block is None or not block.closed or not block.source.strip():
            return _refused("no_answer", "there is no closed block of SQL")
        query = block.source.strip()
        if len(query) > MAX_LENGTH:
            return _refused("too_large", f"the query has {len(query)} characters, over {MAX_LENGTH}")
        for number, each in enumerate(expected, 1):
            where = f"on database {number} of {len(expected)}"
            for reverse in (False, True):  # an order that the query does not ask for is nobody's promise
                try:
                    problem = each.problem(canonical(run(each.database, query, reverse=reverse)))
                except QueryError as error:
                    return _refused(error.reason, f"{where}: {clip(str(error), 200)}", query)
                if problem is not None:
                    stored = ", once its rows are stored the other way round" if reverse else ""
                    return _refused(problem, f"{where}{stored}: {EXPLAINED[problem]}", query)
        return Score(value=1.0, passed=True, reason="ok", explanation=f"right on {len(expected)} databases", parsed=query)


def gold_completion(task: Task) -> Completion:
    """A reply that gives the gold's query."""
    return Completion(text=f"```sql\n{read_gold(task.answer)[0]}\n```")


def _refused(reason: str, explanation: str, query: str | None = None) -> Score:
    return Score(value=0.0, passed=False, reason=reason, explanation=explanation, parsed=query)
