"""The math verifier beside Math-Verify and a string comparison: the same pairs, one machine, one run.

    python benchmarks/math_verifier.py --data DATA --out docs/results/math_verifier.json

Accuracy is measured on the labelled pairs of `verifiers/cases`; pairs that only a policy of ours decides (those with arguments, and
`numbers only`) are left out of the comparison and counted for ours alone. Speed is measured on a mix as training sees it: GSM8K and
MATH solutions against their own gold and, as often, against that of another problem, in groups of 8 that share a gold. Without
DATA (gsm8k_test.jsonl, math500.jsonl) the mix is made of the labelled pairs. Each system runs in a process of its own, so that its
import and its memory are its own. Math-Verify is measured where it is installed (`make bench`).

    pairs/s            by the CPU time of the process
    p50, p99, max      CPU time of one pair, in ms (so that other work on the machine does not count)
    false accepts      wrong answers that were rewarded
    false rejects      right answers that were not
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import random
import re
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlvr.manifest import folder_commit

ROOT = Path(__file__).parents[1]
CASES = ROOT / "verifiers" / "cases"
GROUP = 8
Judge = Callable[[str, str, dict[str, Any]], bool]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with gsm8k_test.jsonl and math500.jsonl")
    parser.add_argument("--pairs", type=int, default=8_000, help="of the mix; Math-Verify gets a tenth")
    parser.add_argument("--growth", type=int, default=0, help="pairs of a further run of ours that watches its memory")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", choices=list(SYSTEMS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments)))
        return
    systems = [name for name in SYSTEMS if name != "math-verify" or importlib.util.find_spec("math_verify")]
    results: dict[str, Any] = {
        "commit": folder_commit(Path(__file__).parent),
        "command": " ".join(["python", *sys.argv]).replace(str(arguments.data), "DATA"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "systems": {name: run(name, arguments) for name in systems},
    }
    show(results)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


def run(system: str, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [
        sys.executable,
        __file__,
        "--child",
        system,
        "--pairs",
        str(arguments.pairs),
        "--growth",
        str(arguments.growth),
    ]
    if arguments.data:
        command += ["--data", str(arguments.data)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def child(arguments: argparse.Namespace) -> dict[str, Any]:
    begin = time.process_time()
    judge = SYSTEMS[arguments.child]()
    imported_s = time.process_time() - begin
    ours = arguments.child == "rlvr"
    result = {
        "import_ms": 1000 * imported_s,
        "import_mb": peak_mb(),
        "accuracy": accuracy(judge, ours),
        "speed": speed(
            judge, mix(arguments.data, arguments.pairs if arguments.child != "math-verify" else arguments.pairs // 10)
        ),
        "peak_mb": peak_mb(),
    }
    if ours and arguments.growth:
        result["growth"] = growth(judge, arguments)
    return result


def accuracy(judge: Judge, ours: bool) -> dict[str, Any]:
    """Totals over what every system is asked, and right / false accept / false reject per kind."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    slowest = 0.0
    for path in sorted(CASES.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            contested = bool(case.get("args")) or case["kind"] == "numbers only"
            if contested and not ours:
                continue
            response = case.get("response", rf"So \boxed{{{case.get('answer')}}}.")
            begin = time.thread_time()
            passed = judge(response, case["gold"], case.get("args", {}))
            slowest = max(slowest, time.thread_time() - begin)
            kind = "by policy alone" if contested else case["kind"]
            verdict = "right" if passed == case["equal"] else "false accept" if passed else "false reject"
            kinds[kind][verdict] += 1
            if path.stem.startswith("held_back") and not contested:
                kinds["(held back)"][verdict] += 1
    asked = [counts for kind, counts in kinds.items() if kind not in ("by policy alone", "(held back)")]
    total = sum((Counter(counts) for counts in asked), Counter[str]())
    return {
        "pairs": total.total(),
        "accuracy": total["right"] / total.total(),
        "false_accepts": total["false accept"],
        "false_rejects": total["false reject"],
        "slowest_ms": 1000 * slowest,
        "kinds": {kind: dict(counts) for kind, counts in sorted(kinds.items())},
    }


def mix(data: Path | None, pairs: int) -> list[tuple[str, str]]:
    """(response, gold), half of them wrong, gold by gold."""
    solved = [*solutions(data)] if data else labelled()
    source = random.Random(0)
    made: list[tuple[str, str]] = []
    while len(made) < pairs:
        response, gold = source.choice(solved)
        made += [(response if source.random() < 0.5 else source.choice(solved)[0], gold) for _ in range(GROUP)]
    return made[:pairs]


def solutions(data: Path) -> list[tuple[str, str]]:
    grade_school = [json.loads(line)["answer"] for line in (data / "gsm8k_test.jsonl").read_text().splitlines()]
    competition = [json.loads(line) for line in (data / "math500.jsonl").read_text().splitlines()]
    return [
        *((re.sub(r"####\s*(.*)", r"\\boxed{\1}", text), text.rpartition("####")[2].strip()) for text in grade_school[:500]),
        *((row["solution"], row["answer"]) for row in competition),
    ]


def labelled() -> list[tuple[str, str]]:
    rows = [json.loads(line) for path in sorted(CASES.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return [(rf"So \boxed{{{row['answer']}}}.", row["gold"]) for row in rows if "answer" in row and not row.get("args")]


def speed(judge: Judge, pairs: list[tuple[str, str]]) -> dict[str, float]:
    for response, gold in pairs[:64]:
        judge(response, gold, {})
    seconds: list[float] = []
    cpu = time.process_time()
    for response, gold in pairs:
        begin = time.thread_time()
        judge(response, gold, {})
        seconds.append(time.thread_time() - begin)
    cpu = time.process_time() - cpu
    cuts = statistics.quantiles(seconds, n=100)
    return {
        "pairs": len(pairs),
        "pairs_per_s": len(pairs) / cpu,
        "p50_ms": 1000 * cuts[49],
        "p99_ms": 1000 * cuts[98],
        "max_ms": 1000 * max(seconds),
    }


def growth(judge: Judge, arguments: argparse.Namespace) -> dict[str, float]:
    """Resident memory after a tenth of the pairs and after all of them."""
    pairs = mix(arguments.data, 50_000)
    before = 0.0
    for number in range(arguments.growth):
        if number == arguments.growth // 10:
            before = resident_mb()
        judge(*pairs[number % len(pairs)], {})
    return {"pairs": arguments.growth, "after_a_tenth_mb": before, "after_all_mb": resident_mb()}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def rlvr() -> Judge:
    from rlvr_verifiers.math import Policy, verify

    def judge(response: str, gold: str, arguments: dict[str, Any]) -> bool:
        settings = dict(arguments)
        pattern = settings.pop("pattern", None)
        policy = Policy(**settings) if settings else Policy()
        return verify(response, gold, policy=policy, pattern=re.compile(pattern) if pattern else None).passed

    return judge


def math_verify() -> Judge:
    import logging

    from math_verify import parse, verify  # pyright: ignore[reportMissingImports]

    logging.disable(logging.CRITICAL)

    def judge(response: str, gold: str, _: dict[str, Any]) -> bool:
        try:
            return bool(verify(parse(rf"\boxed{{{gold}}}"), parse(response)))
        except Exception:  # it says that it raises none
            return False

    return judge


def floor() -> Judge:
    """The last box against the gold after a dozen replacements."""
    dropped = re.compile(r"\s+|\\left|\\right|\\[,;!]|\$|\\\$|\\%|%|\^\\circ|\^\{\\circ\}|\\text\{[^{}]*\}|\.$")

    def normal(text: str) -> str:
        return dropped.sub("", text.replace("dfrac", "frac").replace("tfrac", "frac"))

    def judge(response: str, gold: str, _: dict[str, Any]) -> bool:
        start = response.rfind(r"\boxed{")
        if start < 0:
            return False
        depth, begin = 1, start + len(r"\boxed{")
        for place in range(begin, len(response)):
            depth += (response[place] == "{") - (response[place] == "}")
            if not depth:
                return normal(response[begin:place]) == normal(gold)
        return False

    return judge


SYSTEMS: dict[str, Callable[[], Judge]] = {"rlvr": rlvr, "math-verify": math_verify, "string floor": floor}


def show(results: dict[str, Any]) -> None:
    systems = results["systems"]
    print("| | " + " | ".join(systems) + " |\n|---|" + "---|" * len(systems))

    def line(title: str, value: Callable[[dict[str, Any]], str]) -> None:
        print(f"| {title} | " + " | ".join(value(system) for system in systems.values()) + " |")

    line("pairs", lambda s: str(s["accuracy"]["pairs"]))
    line("accuracy", lambda s: f"{s['accuracy']['accuracy']:.1%}")
    line("false accepts", lambda s: str(s["accuracy"]["false_accepts"]))
    line("false rejects", lambda s: str(s["accuracy"]["false_rejects"]))
    line("pairs/s", lambda s: f"{s['speed']['pairs_per_s']:,.0f}")
    for name in ("p50_ms", "p99_ms", "max_ms"):
        line(name.replace("_ms", ", ms"), lambda s, name=name: f"{s['speed'][name]:.3f}")
    line("import, ms", lambda s: f"{s['import_ms']:.0f}")
    line("peak memory, MB", lambda s: f"{s['peak_mb']:.0f}")
    for kind in sorted({kind for system in systems.values() for kind in system["accuracy"]["kinds"]}):
        line(kind, lambda s, kind=kind: _counts(s["accuracy"]["kinds"].get(kind)))
    for name, system in systems.items():
        if "growth" in system:
            print(f"\n{name}: memory over {system['growth']}")


def _counts(counts: dict[str, int] | None) -> str:
    if not counts:
        return "-"
    wrong = f", {counts.get('false accept', 0)} accepted, {counts.get('false reject', 0)} rejected"
    return f"{counts.get('right', 0)}/{sum(counts.values())}" + (wrong if len(counts) > 1 or "right" not in counts else "")


if __name__ == "__main__":
    main()
