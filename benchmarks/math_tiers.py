r"""Would a tier of symbolic algebra decide what the others of the math verifier cannot? Every pair beside sympy.

    python benchmarks/math_tiers.py --data DATA --out docs/results/math_tiers.json

The pairs are expressions: the labelled pairs of `verifiers/cases`, equal and not; golds of MATH (math_test.jsonl in DATA) beside
the expressions in their own questions, among which are all that ask to simplify, expand or evaluate; each gold beside another and
beside itself with one number changed. Each pair is judged by `tiers.py`, which says which tier decided. Those that no exact tier
decided go to sympy as well, in a worker that is killed at its deadline: trees are built there from our tree, never from text.

    missed     sympy proves the two equal (simplify(a - b) is 0) and we say that they are not
    unproved   we say that they are equal and sympy cannot prove it
    late       sympy had to be killed
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rlvr.manifest import folder_commit
from rlvr_verifiers.math import UnreadableError, parse
from rlvr_verifiers.math.tiers import Tiers
from rlvr_verifiers.math.tree import (
    Arithmetic,
    Function,
    Infinity,
    Negation,
    Node,
    Number,
    Power,
    Product,
    Quotient,
    Root,
    Sum,
    Symbol,
    rebuilt,
    walk,
)

CASES = Path(__file__).parents[1] / "verifiers" / "cases"
DEADLINE_S = 5.0
Pair = tuple[str, str, Node, Node]
"""Where it is from, how it is written, and both sides."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with math_test.jsonl")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = measured([*labelled(), *(competition(arguments.data) if arguments.data else ())])
    about = {"command": "python benchmarks/math_tiers.py --data DATA", "commit": folder_commit(Path(__file__).parent)}
    results = {**about, "python": platform.python_version(), **results}
    print(json.dumps(results, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


def measured(pairs: list[Pair]) -> dict[str, Any]:
    tiers: dict[str, Counter[str]] = {}
    beside: Counter[str] = Counter()
    missed: list[str] = []
    undecided: list[str] = []
    late = 0
    worker = Worker()
    for origin, written, left, right in pairs:
        work = Tiers()
        try:
            verdict = "equal" if work.equal(left, right) else "different"
        except UnreadableError as problem:
            verdict = problem.reason
        tier = work.decided or "refused"
        tiers.setdefault(origin, Counter())[f"{tier}, {verdict}"] += 1
        if tier in ("undecided", "refused"):
            undecided.append(f"{written}: {verdict}" if origin == "labelled" else f"({origin}): {verdict}")
        if tier in ("tree", "exact", "residues"):
            continue
        proof = worker.prove(left, right)
        beside[f"{tier}, {verdict}; sympy: {proof}"] += 1
        if proof == "equal" and verdict != "equal":
            missed.append(written if origin == "labelled" else f"({origin})")
        if proof == "late":
            late += 1
    worker.close()
    return {
        "pairs": len(pairs),
        "by_origin_and_tier": {origin: dict(sorted(counts.items())) for origin, counts in tiers.items()},
        "beside_sympy": dict(sorted(beside.items())),
        "missed": missed,
        "late": late,
        "undecided": undecided,
        "sympy_s": round(worker.seconds, 1),
    }


def labelled() -> Iterator[Pair]:
    for path in sorted(CASES.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            if "answer" in case:
                yield from expressions("labelled", case["gold"], case["answer"])


def competition(data: Path) -> Iterator[Pair]:
    source = random.Random(0)
    rows = [json.loads(line) for line in (data / "math_test.jsonl").read_text(encoding="utf-8").splitlines()]
    golds = [row["answer"] for row in rows if not re.fullmatch(r"-?\d+", row["answer"])]
    for row in rows:
        for formula in re.findall(r"\$([^$]{1,400})\$", row["problem"]):
            yield from expressions("question", row["answer"], formula)
    for gold in golds:
        yield from expressions("another gold", gold, source.choice(golds))
        for _, written, node, _ in expressions("", gold, gold):
            yield "changed", f"{written}, changed", node, changed(node, source)


def expressions(origin: str, one: str, other: str) -> Iterator[Pair]:
    try:
        left, right = parse(one), parse(other)
    except UnreadableError:
        return
    if all(isinstance(side, Arithmetic) and not isinstance(side, Infinity) for side in (left, right)):
        yield origin, f"{one} | {other}", left, right


def changed(node: Node, source: random.Random) -> Node:
    """With one of its numbers larger by one."""
    numbers = sum(isinstance(part, Number) for part in walk(node))
    chosen, seen = source.randrange(numbers) if numbers else -1, 0

    def change(part: Node) -> Node:
        nonlocal seen
        if isinstance(part, Number):
            seen += 1
            return Number(part.value + 1, part.written) if seen == chosen + 1 else part
        return rebuilt(part, change)

    return change(node) if numbers else Sum((node, Number(Fraction(1))))


class Worker:
    """A process that imports sympy and is killed when an answer takes too long."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start()
        self.seconds = 0.0

    def _start(self) -> None:
        self._ours, theirs = self._context.Pipe()
        self._process = self._context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        self._ours.recv()

    def prove(self, left: Node, right: Node) -> str:
        self._ours.send((left, right))
        begin = time.monotonic()
        late = not self._ours.poll(DEADLINE_S)
        self.seconds += time.monotonic() - begin
        if late:
            self.close()
            self._start()
            return "late"
        return self._ours.recv()

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def serve(connection: Connection) -> None:
    import sympy

    connection.send("ready")
    while True:
        left, right = connection.recv()
        try:
            connection.send("equal" if sympy.simplify(symbolic(left) - symbolic(right)) == 0 else "not proved")
        except Exception as error:  # whatever sympy raises is its answer
            connection.send(type(error).__name__)


def symbolic(node: Node) -> Any:
    import sympy

    match node:
        case Number(value):
            return sympy.Rational(value.numerator, value.denominator)
        case Symbol(name):
            return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}.get(name) or sympy.Symbol(name)
        case Sum(parts):
            return sympy.Add(*map(symbolic, parts))
        case Product(parts):
            return sympy.Mul(*map(symbolic, parts))
        case Quotient(above, below):
            return symbolic(above) / symbolic(below)
        case Negation(part):
            return -symbolic(part)
        case Power(base, exponent):
            return symbolic(base) ** symbolic(exponent)
        case Root(index, part):
            inside = symbolic(part)
            return sympy.real_root(inside, index) if index % 2 else inside ** sympy.Rational(1, index)
        case Function(name, parts):
            return function(name, [symbolic(part) for part in parts])
        case _:
            raise TypeError(type(node).__name__)


def function(name: str, arguments: list[Any]) -> Any:
    import sympy

    spelled = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsec": "asec", "arccsc": "acsc"}
    capital = {"abs": "Abs", "ceil": "ceiling", "min": "Min", "max": "Max", "gcd": "gcd", "lcm": "lcm", "ln": "log"}
    if name == "cis":
        return sympy.exp(sympy.I * arguments[0])
    return getattr(sympy, spelled.get(name) or capital.get(name) or name)(*arguments)


if __name__ == "__main__":
    main()
