"""`rlvr verifiers audit` of our math verifier and of other projects' scorers: the reports behind docs/audits.md, and its table.

    make bench
    python benchmarks/audits.py [--only NAME ...] [--workers 2] [--out docs/results/audits]

One JSON file a scorer, each with its command, versions and commit. A single audit is
`rlvr verifiers audit benchmarks/audit_targets.py:NAME --tasks benchmarks/audit_tasks.jsonl --deadline-s 20`. The time of a
completion is by the clock, so other work on the machine is in it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from rlvr.manifest import folder_commit
from rlvr_tasks.registry import load_tasks
from rlvr_verifiers.audit import audit

HERE = Path(__file__).parent
TASKS = HERE / "audit_tasks.jsonl"
DEADLINE_S = 20.0
"""Over the 10 + 5 s that TRL gives Math-Verify, so that the scorers' own time limits show."""

SCORERS = {
    "math": ("rlvr `math`", "rlvr"),
    "math_verify": ("Math-Verify {}", "math-verify"),
    "trl_accuracy_reward": ("TRL {} `accuracy_reward`", "trl"),
    "verl_math_reward": ("verl {} `math_reward`", "verl"),
    "verl_gsm8k": ("verl {} `gsm8k`", "verl"),
    "verl_math_dapo": ("verl {} `math_dapo`", "verl"),
    "verl_prime_math": ("verl {} `prime_math`", "verl"),
}
"""How each is called in the table, and its distribution."""
MATH_VERIFY = ("math-verify", "latex2sympy2-extended", "antlr4-python3-runtime", "sympy")
BESIDE = {"math_verify": MATH_VERIFY, "trl_accuracy_reward": MATH_VERIFY, "verl_prime_math": ("pylatexenc", "sympy")}
"""Further distributions that decide a scorer's answers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SCORERS), default=list(SCORERS))
    parser.add_argument("--workers", type=int, default=2, help="processes; also the number of completions judged at a time")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "results" / "audits")
    arguments = parser.parse_args()
    for name in arguments.only:
        found = audited(name, arguments.workers)
        (arguments.out / f"{name}.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
        print(row(name, found), flush=True)


def audited(name: str, workers: int) -> dict[str, Any]:
    target = name if name == "math" else f"{HERE}/audit_targets.py:{name}"
    tasks = load_tasks({"source": "jsonl", "args": {"path": str(TASKS)}}, check_golds=False)
    begin = time.perf_counter()
    report = audit(target, tasks, deadline_s=DEADLINE_S, workers=workers).to_json()
    distributions = (SCORERS[name][1], *BESIDE.get(name, ()))
    return {
        "command": f"python benchmarks/audits.py --only {name} --workers {workers}",
        "versions": {each: importlib.metadata.version(each) for each in dict.fromkeys(distributions)},
        "commit": folder_commit(HERE),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "deadline_s": DEADLINE_S,
        "wall_s": round(time.perf_counter() - begin, 1),
        **report,
        "target": target.replace(str(HERE), "benchmarks"),
    }


def row(name: str, found: dict[str, Any]) -> str:
    """The scorer's line in docs/audits.md."""
    title, distribution = SCORERS[name]
    accepted = [f"{kind['kind']} {kind['wrong']}/{kind['tried']}" for kind in found["kinds"] if kind["must"] == "fail"]
    failures = ", ".join(f"{reason} {count}" for reason, count in found["failures"].items()) or "none"
    left_out = f", {found['left_out']} left out" if found["left_out"] else ""
    cells = [
        title.format(found["versions"][distribution]),
        found["form"],
        *(share(found, wrong, tried) for wrong, tried in (("false_accepts", "attacks"), ("false_rejects", "honest"))),
        failures,
        f"{1000 * found['median_s']:.1f} ms",
        f"{found['slowest']['seconds']:.2f} s ({found['slowest']['kind']})",
        f"{found['slow']}{left_out}",
        "**yes**" if found["executed_model_text"] else "no",
        ", ".join(each for each in accepted if " 0/" not in each) or "none",
    ]
    return f"| {' | '.join(cells)} |"


def share(found: dict[str, Any], wrong: str, tried: str) -> str:
    return f"{found[wrong]}/{found[tried]} ({found[wrong] / found[tried]:.1%})"


if __name__ == "__main__":
    main()
