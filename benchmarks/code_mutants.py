"""Does the code verifier tell right programs from wrong ones as plain Python does? Reference solutions and broken copies of them.

    python benchmarks/code_mutants.py --data DATA --out docs/results/code_mutants.json [--per-program 3] [--only human_eval]

DATA holds HumanEval.jsonl.gz and mbpp.jsonl. Every reference solution, and mutants of it (one small change of its syntax tree each,
drawn with a fixed seed), are judged twice: by the `code` verifier, and by plain Python, which runs program and original test as one
file in a throwaway box and passes what reaches its end. The two must agree. Where they do not, both are asked again with
more time, and what is left is listed. Mutants that both pass are listed by kind: each is a gap in the tests of its
problem, or a change that does not matter.
"""

from __future__ import annotations

import argparse
import ast
import collections
import dataclasses
import itertools
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rlvr.manifest import folder_commit
from rlvr_sandbox import Limits, Program, shared_sandbox
from rlvr_tasks.registry import load_tasks
from rlvr_verifiers.scoring import score_now
from rlvr_verifiers.types import Completion, Task

MUTANT_S, REFERENCE_S, AGAIN_S = 0.5, 4.0, 2.0
"""Time of a program: of a mutant, of a reference solution, and of either where the two judges disagree."""
SETS = {
    "human_eval": [{"path": "HumanEval.jsonl.gz"}],
    "mbpp": [{"path": "mbpp.jsonl", "split": split} for split in ("prompt", "test", "validation", "train")],
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.FloorDiv,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
BUILTINS = {"min": "max", "max": "min", "any": "all", "all": "any", "sum": "len", "ord": "len", "abs": "int"}
REFERENCE = "reference"
END = "the end of the test"
Change = Callable[[Any], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    kind: str
    change: str
    """The first line that differs, before and after."""
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """One change that could be made: where in the walk over the tree, and which of the changes there."""

    kind: str
    node: int
    change: int


def sites(source: str) -> list[Site]:
    """Every change, in the order of the tree. Raises SyntaxError where the source is not Python."""
    tree = ast.parse(source)
    fixed = _fixed(tree)
    return [
        Site(kind, number, position)
        for number, node in enumerate(ast.walk(tree))
        if number not in fixed
        for position, (kind, _) in enumerate(_changes(node))
    ]


def mutant(source: str, site: Site) -> Mutant | None:
    """None where the change changes nothing."""
    tree = ast.parse(source)
    original = ast.unparse(tree)
    node = next(itertools.islice(ast.walk(tree), site.node, None))
    _, change = next(itertools.islice(_changes(node), site.change, None))
    change(node)
    changed = ast.unparse(ast.fix_missing_locations(tree))
    if changed == original:
        return None
    lines = next(pair for pair in itertools.zip_longest(original.split("\n"), changed.split("\n")) if pair[0] != pair[1])
    return Mutant(site.kind, " -> ".join((line or "").strip()[:100] for line in lines), changed + "\n")


def drawn(source: str, count: int, seed: str) -> list[Mutant]:
    """`count` different ones, different kinds first, the same for the same seed."""
    chance = random.Random(seed)
    by_kind: dict[str, list[Site]] = collections.defaultdict(list)
    for site in sites(source):
        by_kind[site.kind].append(site)
    queues = [chance.sample(group, len(group)) for group in by_kind.values()]
    chance.shuffle(queues)
    chosen: dict[str, Mutant] = {}
    while len(chosen) < count and any(queues):
        for queue in queues:
            made = mutant(source, queue.pop()) if queue and len(chosen) < count else None
            if made is not None:
                chosen.setdefault(made.source, made)
    return list(chosen.values())


def _fixed(tree: ast.AST) -> set[int]:
    """Positions of what means nothing or cannot be written otherwise: docstrings, annotations, imports, pieces of f-strings."""
    numbers = {id(node): number for number, node in enumerate(ast.walk(tree))}
    fixed: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) or isinstance(
            node, ast.JoinedStr | ast.Import | ast.ImportFrom
        ):
            parts = [node]
        elif isinstance(node, ast.arg | ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            parts = [node.returns]
        fixed |= {numbers[id(inner)] for part in parts if part is not None for inner in ast.walk(part)}
    return fixed


def _changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    if isinstance(node, ast.Compare):
        for other in COMPARISONS[type(node.ops[0])]:
            yield "comparison", lambda target, other=other: target.ops.__setitem__(0, other())
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OPERATORS:
        yield "operator", lambda target: setattr(target, "op", OPERATORS[type(target.op)]())
    elif isinstance(node, ast.BoolOp):
        yield "and, or", lambda target: setattr(target, "op", ast.Or() if isinstance(target.op, ast.And) else ast.And())
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Name) and node.id in BUILTINS and isinstance(node.ctx, ast.Load):
        yield "builtin", lambda target: setattr(target, "id", BUILTINS[target.id])
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield "negated condition", lambda target: setattr(target, "test", ast.UnaryOp(ast.Not(), target.test))
    if isinstance(node, ast.If):
        yield "dropped branch", lambda target: setattr(target, "body", [ast.Pass()])
        if node.orelse:
            yield "dropped branch", lambda target: setattr(target, "orelse", [])
    for field in ("body", "orelse"):
        yield from _statements(field, getattr(node, field, None))


def _constants(node: ast.Constant) -> Iterator[tuple[str, Change]]:
    value = node.value
    if isinstance(value, bool):
        yield "truth value", lambda target: setattr(target, "value", not target.value)
    elif isinstance(value, int | float):
        for step in (1, -1):
            yield "constant", lambda target, step=step: setattr(target, "value", target.value + step)
    elif isinstance(value, str):
        yield "text", lambda target: setattr(target, "value", target.value[1:] if target.value else "x")


def _statements(field: str, body: object) -> Iterator[tuple[str, Change]]:
    if not isinstance(body, list):
        return
    for number, statement in enumerate(body):
        if isinstance(statement, ast.Assign | ast.AugAssign | ast.Expr) and not (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        ):
            yield "dropped statement", lambda target, number=number: getattr(target, field).__setitem__(number, ast.Pass())
        elif isinstance(statement, ast.Break | ast.Continue):
            other = ast.Continue if isinstance(statement, ast.Break) else ast.Break
            yield (
                "break, continue",
                lambda target, number=number, other=other: getattr(target, field).__setitem__(number, other()),
            )


def verifier_passes(task: Task, source: str, wall_s: float = REFERENCE_S) -> bool:
    """Raises RuntimeError where the verifier itself failed."""
    answer = {**json.loads(task.answer), "limits": {"wall_s": wall_s, "memory_mb": 256}}
    judged = dataclasses.replace(task, answer=json.dumps(answer))
    score = score_now(judged, Completion(text=f"~~~python\n{source}\n~~~"))
    if score.value is None:
        raise RuntimeError(f"{task.id}: {score.explanation}")
    return score.passed


def plain_python_passes(task: Task, source: str, wall_s: float = REFERENCE_S) -> bool:
    """Program and test as one file; what reaches its end passes. (Mutants cheat by accident only.)"""
    answer = json.loads(task.answer)
    call = f"\ncheck({answer['entry_point']})\n" if "def check(" in answer["check"] else "\n"
    whole = f"{source}\n{answer['check']}{call}print({END!r})\n"
    program = Program(source=whole, preamble=answer.get("preamble", ""), limits=Limits(wall_s=wall_s, memory_mb=256))
    result = shared_sandbox().run_now(program)
    return result.status == "ok" and result.stdout.endswith(f"{END}\n".encode())


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    task: Task
    kind: str
    change: str
    source: str
    verifier: bool
    plain: bool


def judged(task: Task, kind: str, change: str, source: str) -> Judged:
    wall_s = REFERENCE_S if kind == REFERENCE else MUTANT_S
    verdicts = verifier_passes(task, source, wall_s), plain_python_passes(task, source, wall_s)
    if verdicts[0] != verdicts[1]:
        verdicts = verifier_passes(task, source, AGAIN_S), plain_python_passes(task, source, AGAIN_S)
    return Judged(task, kind, change, source, *verdicts)


def explanation(task: Task) -> str:
    """Why the two judges may rightly differ: the test calls a helper of the prompt, and the program defines it anew. Plain Python then
    tests with the program's own helper, the verifier with the task's. Empty where there is no such reason."""
    answer = json.loads(task.answer)
    given = {node.name for node in ast.walk(ast.parse(answer.get("preamble", ""))) if isinstance(node, ast.FunctionDef)}
    called = {
        node.func.id
        for node in ast.walk(ast.parse(answer["check"]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    helpers = sorted(given & called - {answer["entry_point"]})
    return f"the test calls {', '.join(helpers)}, which the program defines anew" if helpers else ""


def program_of(task: Task) -> str:
    return task.info["demonstration"].partition("\n")[2].rpartition("\n")[0].replace("\r\n", "\n") + "\n"


def work(tasks: list[Task], per_program: int, seed: int) -> Iterator[tuple[Task, str, str, str]]:
    for task in tasks:
        source = program_of(task)
        yield task, REFERENCE, "", source
        for made in drawn(source, per_program, f"{seed}/{task.id}"):
            yield task, made.kind, made.change, made.source


def report(found: list[Judged]) -> dict[str, Any]:
    references = [one for one in found if one.kind == REFERENCE]
    right = {one.task.id for one in references if one.plain}
    broken = [one for one in found if one.kind != REFERENCE and one.task.id in right]
    survivors = [one for one in broken if one.verifier]
    by_kind: dict[str, dict[str, int]] = {}
    for one in broken:
        row = by_kind.setdefault(one.kind, {"mutants": 0, "survivors": 0})
        row["mutants"] += 1
        row["survivors"] += one.verifier
    return {
        "references": len(references),
        "right_in_plain_python": len(right),
        "of_these_passed_by_the_verifier": sum(one.verifier for one in references if one.plain),
        "wrong_in_plain_python": sorted(one.task.id for one in references if not one.plain),
        "mutants": len(broken),
        "survivors": len(survivors),
        "disagreements": [
            {
                "task": one.task.id,
                "kind": one.kind,
                "change": one.change,
                "verifier": one.verifier,
                "plain": one.plain,
                "because": explanation(one.task),
            }
            for one in found
            if one.verifier != one.plain
        ],
        "unexplained": sum(one.verifier != one.plain and not explanation(one.task) for one in found),
        "by_kind": dict(sorted(by_kind.items(), key=lambda item: -item[1]["mutants"])),
        "surviving": [f"{one.task.id}: {one.kind}: {one.change}" for one in survivors],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with HumanEval.jsonl.gz and mbpp.jsonl")
    parser.add_argument("--per-program", type=int, default=3, help="mutants of each reference solution")
    parser.add_argument("--only", choices=list(SETS))
    parser.add_argument("--first", type=int, help="problems of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results: dict[str, Any] = {
        "commit": folder_commit(Path(__file__).parent),
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "DATA"),
        "python": platform.python_version(),
    }
    begin = time.monotonic()
    for name in [arguments.only] if arguments.only else SETS:
        tasks: list[Task] = []
        for part in SETS[name]:
            path = str(arguments.data / part["path"])
            tasks += load_tasks({"source": name, "args": {**part, "path": path}})
        tasks = tasks[: arguments.first]
        with ThreadPoolExecutor(arguments.workers) as threads:
            found = list(threads.map(lambda item: judged(*item), work(tasks, arguments.per_program, arguments.seed)))
        results[name] = report(found)
        print(f"{name}: {json.dumps({**results[name], 'surviving': '...'}, indent=1)}", flush=True)
    results["seconds"] = round(time.monotonic() - begin)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
