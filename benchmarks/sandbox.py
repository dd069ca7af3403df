"""What a box costs: the sandbox against `subprocess.run([python, file])` on small programs, in turns, so that a busy machine
slows both.

    python benchmarks/sandbox.py [--rounds 100] [--workers 1 2]

`bare` starts an interpreter on a file that holds program and check. `fork` is the backend without walls: the same warm zygote
and protocol, so `zygote / fork` is what the walls cost. `8 cases` runs one stdin/stdout program on eight inputs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rlvr_sandbox import Call, Limits, Program, Sandbox


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    entry_point: str
    source: str
    cases: tuple[tuple[tuple[object, ...], object], ...]

    def as_file(self) -> str:
        checks = "".join(f"assert {self.entry_point}(*{args!r}) == {expected!r}\n" for args, expected in self.cases)
        return f"{self.source}\n{checks}"


PROBLEMS = (
    Problem(
        "close",
        "from typing import List\n\n\ndef close(numbers: List[float], threshold: float) -> bool:\n"
        "    for i, a in enumerate(numbers):\n        for b in numbers[i + 1:]:\n"
        "            if abs(a - b) < threshold:\n                return True\n    return False\n",
        (
            (([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3), True),
            (([1.0, 2.0, 5.9], 0.5), False),
            (([1.0, 2.0, 5.9, 4.0, 5.0], 0.95), True),
        ),
    ),
    Problem(
        "groups",
        "def groups(text):\n    out, depth, now = [], 0, ''\n    for c in text.replace(' ', ''):\n        now += c\n"
        "        depth += 1 if c == '(' else -1\n        if depth == 0:\n            out.append(now)\n"
        "            now = ''\n    return out\n",
        ((("(()()) ((()))",), ["(()())", "((()))"]), (("( ) (( )) (( )( ))",), ["()", "(())", "(()())"])),
    ),
    Problem(
        "primes",
        "def primes(n):\n    sieve = [True] * (n + 1)\n    out = []\n    for i in range(2, n + 1):\n        if sieve[i]:\n"
        "            out.append(i)\n            for j in range(i * i, n + 1, i):\n                sieve[j] = False\n    return out\n",
        (((30,), [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]), ((2,), [2]), ((1,), [])),
    ),
)
STDIO = Program(source="import sys\nfor line in sys.stdin:\n    a, b = map(int, line.split())\n    print(a + b)\n")
LIMITS = Limits(wall_s=60.0, cpu_s=60.0)


def bare(problem: Problem, folder: Path) -> None:
    file = folder / "main.py"
    file.write_text(problem.as_file())
    subprocess.run([sys.executable, str(file)], check=True)


def boxed(problem: Problem, sandbox: Sandbox) -> None:
    program = Program(source=problem.source, mode="function", entry_point=problem.entry_point, limits=LIMITS)
    with sandbox.open(program) as box:
        outcomes = box.calls(Call(args=args) for args, _ in problem.cases)
        for outcome, (_, expected) in zip(outcomes, problem.cases, strict=True):
            assert outcome.value == expected


def eight_cases(sandbox: Sandbox) -> None:
    for number in range(8):
        assert sandbox.run_now(STDIO, stdin=f"{number} {number}\n".encode()).stdout == f"{2 * number}\n".encode()


def measure(rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each way, in turns."""
    times: dict[str, list[float]] = {"bare": [], "fork": [], "zygote": [], "8 cases": []}
    with Sandbox("zygote") as walls, Sandbox("unsafe_rlimit") as fork, tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            problem = PROBLEMS[number % len(PROBLEMS)]
            ways: dict[str, Callable[[], None]] = {
                "bare": lambda problem=problem: bare(problem, Path(folder)),
                "fork": lambda problem=problem: boxed(problem, fork),
                "zygote": lambda problem=problem: boxed(problem, walls),
                "8 cases": lambda: eight_cases(walls),
            }
            for name, way in ways.items():
                begin = time.perf_counter()
                way()
                if number >= len(PROBLEMS):  # the first ones start zygotes and fill caches
                    times[name].append((time.perf_counter() - begin) * 1000)
    return times


def report(workers: int, times: dict[str, list[float]]) -> None:
    typical = {name: statistics.median(values) for name, values in times.items()}
    print(f"{workers} worker(s), {len(times['bare'])} rounds each way")
    for name, values in times.items():
        high = sorted(values)[int(len(values) * 0.99)]
        print(
            f"  {name:<8} p50 {typical[name]:7.2f} ms   p99 {high:7.2f} ms   bare/this {typical['bare'] / typical[name]:6.1f}"
        )
    print(f"  zygote/fork {typical['zygote'] / typical['fork']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.rounds)))
        return
    for workers in options.workers:
        command = [sys.executable, __file__, "--child", "--rounds", str(options.rounds)]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(workers)]
        answers = [json.loads(process.communicate()[0]) for process in started]
        report(workers, {name: [value for answer in answers for value in answer[name]] for name in answers[0]})


if __name__ == "__main__":
    main()
