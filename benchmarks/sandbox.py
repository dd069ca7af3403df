"""What a box costs: the sandbox against `subprocess.run([python, file])` on small programs, in turns, so that a busy machine
slows both.

    python benchmarks/sandbox.py [--rounds 300] [--workers 1 2] [--out docs/results/sandbox.json]

`bare` starts an interpreter on a file that holds program and check. `fork` is the backend without walls: the same warm zygote
and protocol, so `zygote / fork` is what the walls cost. `8 cases` runs one stdin/stdout program on eight inputs. CPU time is that
of everybody who has a part in it: this process, the zygote and the programs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlvr.manifest import folder_commit
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
_WARM = 100
"""Boxes of each sandbox before anything is measured."""


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


def measure(rounds: int) -> dict[str, dict[str, Any]]:
    """Milliseconds of each way, in turns, and CPU time of one turn."""
    times: dict[str, list[float]] = {"bare": [], "fork": [], "zygote": [], "8 cases": []}
    cpu: dict[str, float] = dict.fromkeys(times, 0.0)
    with (
        Sandbox("zygote") as walls,
        Sandbox("unsafe_rlimit") as fork,
        Sandbox("zygote") as cases,
        tempfile.TemporaryDirectory() as folder,
    ):
        families = {"bare": [], "fork": warm(fork), "zygote": warm(walls), "8 cases": warm(cases)}
        before = {name: cpu_ms(pids) for name, pids in families.items()}
        for number in range(rounds):
            problem = PROBLEMS[number % len(PROBLEMS)]
            ways: dict[str, Callable[[], None]] = {
                "bare": lambda problem=problem: bare(problem, Path(folder)),
                "fork": lambda problem=problem: boxed(problem, fork),
                "zygote": lambda problem=problem: boxed(problem, walls),
                "8 cases": lambda: eight_cases(cases),
            }
            for name, way in ways.items():
                used = own_ms(resource.RUSAGE_SELF) + own_ms(resource.RUSAGE_CHILDREN)
                begin = time.perf_counter()
                way()
                times[name].append((time.perf_counter() - begin) * 1000)
                cpu[name] += own_ms(resource.RUSAGE_SELF) + own_ms(resource.RUSAGE_CHILDREN) - used
        for name, pids in families.items():
            cpu[name] += cpu_ms(pids) - before[name]
    return {name: {"ms": times[name], "cpu_ms": cpu[name] / rounds} for name in times}


def summary(answers: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    for name in answers[0]:
        values = sorted(value for answer in answers for value in answer[name]["ms"])
        rows[name] = {
            "p50_ms": round(statistics.median(values), 3),
            "p99_ms": round(values[int(len(values) * 0.99)], 3),
            "cpu_ms": round(statistics.mean(answer[name]["cpu_ms"] for answer in answers), 3),
        }
    for row in rows.values():
        row["bare_over_this"] = round(rows["bare"]["p50_ms"] / row["p50_ms"], 2)
        row["bare_over_this_cpu"] = round(rows["bare"]["cpu_ms"] / row["cpu_ms"], 2)
    return rows


def report(workers: int, rounds: int, rows: dict[str, dict[str, float]]) -> None:
    print(f"{workers} worker(s), {rounds} rounds each way")
    for name, row in rows.items():
        print(
            f"  {name:<8} p50 {row['p50_ms']:7.2f} ms   p99 {row['p99_ms']:7.2f} ms   CPU {row['cpu_ms']:6.2f} ms   "
            f"bare/this {row['bare_over_this']:5.1f} (CPU {row['bare_over_this_cpu']:.1f})"
        )
    print(f"  zygote/fork {rows['zygote']['p50_ms'] / rows['fork']['p50_ms']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.rounds)))
        return
    results: dict[str, Any] = {
        "commit": folder_commit(Path(__file__).parent),
        "command": f"python benchmarks/sandbox.py --rounds {options.rounds}",
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "rounds": options.rounds,
        "workers": {},
    }
    for workers in options.workers:
        command = [sys.executable, __file__, "--child", "--rounds", str(options.rounds)]
        load = os.getloadavg()[0]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(workers)]
        rows = summary([json.loads(process.communicate()[0]) for process in started])
        results["workers"][str(workers)] = {"load_before": round(load, 2), **rows}
        report(workers, options.rounds, rows)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
