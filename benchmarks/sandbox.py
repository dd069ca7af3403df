"""What a box costs: the sandbox against `subprocess.run([python, file])` on small programs, in turns, so that a busy machine
slows both.

    python benchmarks/sandbox.py [--rounds 360] [--turn 1] [--workers 1 2] [--backends zygote bwrap docker landlock] [--out F]
    python benchmarks/sandbox.py --human-eval HumanEval.jsonl.gz --turn 10 [--python PYTHON]

`bare` starts an interpreter on a file that holds program and check. `least` is a warm interpreter that forks, executes that file and
waits for the end, and nothing else: no walls, no limits, no value, so what a fork costs at the least. `fork` is the backend without
walls: the same warm zygote and protocol as `zygote`, so `zygote / fork` is what the walls cost. `8 cases` runs one stdin/stdout
program on eight inputs, with the first backend. CPU time is that of everybody who has a part in it: this process, the zygote and the
programs; a container's is not counted. `per_cpu_s` is how many runs one second of it pays for: the rate of a core that has nothing
else to do. What an interpreter costs to start depends on its site-packages: `start_ms` has it with and without them. With
`--human-eval` the programs are the solutions of HumanEval whose checks are literal, each with all its cases.
For root `landlock` needs a Python that other users can read: `--python /usr/bin/python3`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import nan
from pathlib import Path
from typing import Any

from rlvr.manifest import folder_commit
from rlvr_sandbox import Call, Interpreter, Limits, Program, Sandbox
from rlvr_sandbox.zygote import PRELOAD
from rlvr_tasks.errors import TaskError
from rlvr_tasks.sources.jsonl import read_rows
from rlvr_verifiers.code.asserts import cases_of


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    entry_point: str
    source: str
    cases: tuple[tuple[tuple[Any, ...], object], ...]
    group: str = ""
    """What it is reported with; empty: by itself."""

    @property
    def reported_as(self) -> str:
        return self.group or self.entry_point

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
_WARM = 100
"""Boxes of each sandbox before anything is measured."""
_LEAST = """
import ctypes, gc, importlib, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
fork = ctypes.PyDLL(None).fork  # without Python's own handlers, as the sandbox does it
exec(compile("pass", "warm.py", "exec"))
gc.collect()
gc.freeze()
for line in sys.stdin:
    pid = fork()
    if pid == 0:
        with open(line[:-1]) as file:
            exec(compile(file.read(), "main.py", "exec"), {"__name__": "__main__"})
        os._exit(0)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def human_eval(path: Path) -> list[Problem]:
    """Those of its problems whose tests are literal calls without keywords, in two groups."""
    problems: list[Problem] = []
    for where, row in read_rows(path):
        if isinstance(row, TaskError):
            sys.exit(f"{where}: {row}")
        source = row["prompt"] + row["canonical_solution"]
        group = "with imports" if "import" in source else "without imports"
        cases = cases_of(row["test"], row["entry_point"])
        if cases is not None and not any(case.kwargs for case in cases):
            problems.append(Problem(row["entry_point"], source, tuple((case.args, case.expected) for case in cases), group))
    return problems


def bare(problem: Problem, folder: Path, python: str) -> None:
    file = folder / "main.py"
    file.write_text(problem.as_file())
    subprocess.run([python, str(file)], check=True)


def least(problem: Problem, folder: Path, warm: subprocess.Popen[str]) -> None:
    file = folder / "least.py"
    file.write_text(problem.as_file())
    assert warm.stdin is not None
    assert warm.stdout is not None
    print(file, file=warm.stdin, flush=True)
    assert int(warm.stdout.readline()) == 0


def boxed(problem: Problem, sandbox: Sandbox) -> None:
    program = Program(source=problem.source, mode="function", entry_point=problem.entry_point, limits=LIMITS)
    with sandbox.open(program) as box:
        outcomes = box.calls(Call(args=args) for args, _ in problem.cases)
        for outcome, (_, expected) in zip(outcomes, problem.cases, strict=True):
            assert outcome.value == expected, (problem.entry_point, outcome)


def eight_cases(sandbox: Sandbox) -> None:
    for number in range(8):
        assert sandbox.run_now(STDIO, stdin=f"{number} {number}\n".encode()).stdout == f"{2 * number}\n".encode()


def warm(sandbox: Sandbox) -> list[int]:
    """Until it has all the zygotes it wants; returns their processes."""
    before = set(descendants(os.getpid()))
    for number in range(_WARM):
        boxed(PROBLEMS[number % len(PROBLEMS)], sandbox)
    return [pid for pid in descendants(os.getpid()) if pid not in before]


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, file.read_text().split()):
            found += [child, *descendants(child)]
    return found


def cpu_ms(pids: list[int]) -> float:
    """Of these processes and of all their children that have ended."""
    fields = [
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        for pid in pids
        if os.path.exists(f"/proc/{pid}")
    ]
    return sum(sum(map(int, four)) for four in fields) * 1000 / os.sysconf("SC_CLK_TCK")


def own_ms(who: int) -> float:
    usage = resource.getrusage(who)
    return (usage.ru_utime + usage.ru_stime) * 1000


def measure(
    problems: Sequence[Problem], rounds: int, turn: int, backends: Sequence[str], python: str
) -> dict[str, dict[str, Any]]:
    """For each way and group of programs the milliseconds of each run, and the CPU time of all."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        names = {"fork": "unsafe_rlimit", **dict(zip(backends, backends, strict=True)), "8 cases": backends[0]}
        sandboxes = {
            way: stack.enter_context(Sandbox(name, interpreter=Interpreter(path=python))) for way, name in names.items()
        }
        forking = stack.enter_context(
            subprocess.Popen(
                [python, "-I", "-S", "-c", _LEAST, *PRELOAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        families: dict[str, list[int]] = {
            "bare": [],
            "least": [forking.pid],
            **{way: warm(sandbox) for way, sandbox in sandboxes.items()},
        }
        runs = {way: {problem.reported_as: _Runs() for problem in problems} for way in families}
        for number in range(rounds // turn):
            problem = problems[number % len(problems)]
            ways: dict[str, Callable[[], None]] = {
                "bare": partial(bare, problem, folder, python),
                "least": partial(least, problem, folder, forking),
                **{way: partial(boxed, problem, sandbox) for way, sandbox in sandboxes.items() if way != "8 cases"},
            }
            if problem in PROBLEMS:
                ways["8 cases"] = partial(eight_cases, sandboxes["8 cases"])
            for name, way in ways.items():
                runs[name][problem.reported_as].take_turn(way, turn, families[name])
    elsewhere = [name for name, pids in families.items() if not pids and name != "bare"]
    return {
        name: {
            program: {"ms": run.ms, "cpu_ms": None if name in elsewhere else run.cpu_ms}
            for program, run in by_program.items()
        }
        for name, by_program in runs.items()
        if any(run.ms for run in by_program.values())
    }


class _Runs:
    """Of one program in one way."""

    def __init__(self) -> None:
        self.ms: list[float] = []
        self.cpu_ms = 0.0
        """Of all of them. The kernel counts other processes in hundredths of a second, so many turns are needed."""

    def take_turn(self, way: Callable[[], None], times: int, family: list[int]) -> None:
        self.cpu_ms -= cpu_ms(family) + own_ms(resource.RUSAGE_SELF) + own_ms(resource.RUSAGE_CHILDREN)
        for _ in range(times):
            begin = time.perf_counter()
            way()
            self.ms.append((time.perf_counter() - begin) * 1000)
        self.cpu_ms += cpu_ms(family) + own_ms(resource.RUSAGE_SELF) + own_ms(resource.RUSAGE_CHILDREN)


def summary(answers: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """All programs together, and each in `programs`."""
    rows: dict[str, dict[str, Any]] = {}
    for name in answers[0]:
        by_program = {
            program: [answer[name][program] for answer in answers if answer[name][program]["ms"]]
            for program in answers[0][name]
        }
        parts = {program: _row(runs) for program, runs in by_program.items() if runs}
        rows[name] = {**_row([run for runs in by_program.values() for run in runs]), "programs": parts}
    for row in rows.values():
        _compare(row, rows["bare"])
        for program, part in row["programs"].items():
            _compare(part, rows["bare"]["programs"][program])
    return rows


def _row(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    values = sorted(value for run in runs for value in run["ms"])
    cpu_ms = None if runs[0]["cpu_ms"] is None else sum(run["cpu_ms"] for run in runs) / len(values)
    return {
        "p50_ms": round(statistics.median(values), 3),
        "p99_ms": round(values[int(len(values) * 0.99)], 3),
        "cpu_ms": None if cpu_ms is None else round(cpu_ms, 3),
        "per_cpu_s": round(1000 / cpu_ms, 1) if cpu_ms else None,
    }


def _compare(row: dict[str, Any], bare: dict[str, Any]) -> None:
    row["bare_over_this"] = round(bare["p50_ms"] / row["p50_ms"], 2)
    row["bare_over_this_cpu"] = round(bare["cpu_ms"] / row["cpu_ms"], 2) if row["cpu_ms"] else None


def start_ms(python: str, *flags: str) -> float:
    """Of an interpreter that has nothing to do; median of twenty."""
    taken: list[float] = []
    for _ in range(20):
        begin = time.perf_counter()
        subprocess.run([python, *flags, "-c", ""], check=True)
        taken.append((time.perf_counter() - begin) * 1000)
    return round(statistics.median(taken), 1)


def report(workers: int, rounds: int, rows: dict[str, dict[str, Any]]) -> None:
    print(f"{workers} worker(s), {rounds} rounds each way")
    for name, row in rows.items():
        programs = {} if name in ("bare", "8 cases") else row["programs"]
        for title, part in ((name, row), *((f"  {program}", part) for program, part in programs.items())):
            print(
                f"  {title:<10} p50 {part['p50_ms']:7.2f} ms   p99 {part['p99_ms']:7.2f} ms   CPU {part['cpu_ms'] or nan:6.2f} ms "
                f"({part['per_cpu_s'] or nan:4.0f} a second)   "
                f"bare/this {part['bare_over_this']:5.1f} (CPU {part['bare_over_this_cpu'] or nan:.1f})"
            )
    for name in rows.keys() - {"bare", "least", "fork", "8 cases"}:
        print(f"  {name}/fork {rows[name]['p50_ms'] / rows['fork']['p50_ms']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="of each way; default 360, or each program of HumanEval for one turn")
    parser.add_argument("--human-eval", type=Path, metavar="FILE", help="HumanEval.jsonl or .jsonl.gz, for its programs")
    parser.add_argument(
        "--turn", type=int, default=1, help="runs of one way, one after the other, before the next has its turn"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--python", default=sys.executable, help="what every way but docker runs programs with")
    parser.add_argument("--backends", nargs="+", default=["zygote"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    python = shutil.which(options.python) or options.python
    problems = human_eval(options.human_eval) if options.human_eval else list(PROBLEMS)
    rounds = options.rounds or (options.turn * len(problems) if options.human_eval else 360)
    if options.child:
        print(json.dumps(measure(problems, rounds, options.turn, options.backends, python)))
        return
    results: dict[str, Any] = {
        "commit": folder_commit(Path(__file__).parent),
        "command": shlex.join(["python", *sys.argv]),
        "python": subprocess.run([python, "--version"], check=True, capture_output=True, text=True).stdout.split()[1],
        "start_ms": {"site-packages": start_ms(python), "none": start_ms(python, "-I", "-S")},
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "programs": len(problems),
        "rounds": rounds,
        "turn": options.turn,
        "workers": {},
    }
    for workers in options.workers:
        command = [sys.executable, __file__, "--child", "--rounds", str(rounds)]
        command += ["--turn", str(options.turn), "--python", python, "--backends", *options.backends]
        command += ["--human-eval", str(options.human_eval)] if options.human_eval else []
        load = os.getloadavg()[0]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(workers)]
        rows = summary([json.loads(process.communicate()[0]) for process in started])
        results["workers"][str(workers)] = {"load_before": round(load, 2), **rows}
        report(workers, rounds, rows)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
