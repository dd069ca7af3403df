"""DPO, KTO and SimPO on a preference made by a rule: does the held-out win rate move, and what does it cost?

    python benchmarks/preference.py

One warm start (configs/dpo.yaml's SFT stage) is trained once and shared; each algorithm's own config then trains its preference stage from
that adapter. A policy wins a held-out question against the warm start where the rule accepts its answer and not the other's; a tie counts
half. Finished runs are kept, so an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rlvr.manifest import build_manifest
from rlvr.redaction import Redactor
from rlvr.statistics import Estimate, compare_paired, mean_estimate

ALGORITHMS = ("dpo", "kto", "simpo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithms", nargs="+", default=ALGORITHMS)
    parser.add_argument("--runs", type=Path, default=Path("runs/preference"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/preference.json"))
    arguments = parser.parse_args()
    warm = train("configs/dpo.yaml", arguments.runs, "warm-start", ["stages=[sft]", "continue_if={}"])
    (last,) = sorted((warm / "checkpoints").glob("sft-*"))[-1:]
    results = {"base": policy_row(warm, "base", None), "sft": policy_row(warm, "sft", None)}
    for name in arguments.algorithms:
        settings = ["stages=[preference]", "continue_if={}", f"adapter.init_from={last / 'adapter'}", "eval.base=false"]
        folder = train(f"configs/{name}.yaml", arguments.runs, name, settings)
        results[name] = {**policy_row(folder, "preference", warm), **training_row(folder)}
        print(name, json.dumps(results[name]), flush=True)
    write(arguments.out, results)


def train(config: str, runs: Path, name: str, settings: list[str]) -> Path:
    """Trains unless it is done already; resumes a run that was cut off."""
    folder = runs / name
    if (folder / "summary.json").is_file():
        return folder
    command = [sys.executable, "-m", "rlvr.cli", "train", config, f"output_dir={runs}", f"run_name={name}", *settings]
    if (folder / "config.yaml").is_file():
        command.append("--resume")
    subprocess.run(command, check=True)
    return folder


def passed(folder: Path, stage: str, which: str) -> dict[str, float]:
    """Task -> whether its answer passed."""
    rows = pq.read_table(folder / "evaluations" / f"{stage}-000000-{which}.parquet").to_pylist()
    return {row["task_id"]: float(row["passed"]) for row in rows}


def policy_row(folder: Path, stage: str, before: Path | None) -> dict[str, Any]:
    """What a policy does on held-out questions and on retention tasks, and against the warm start."""
    concise, retained = passed(folder, stage, "heldout"), passed(folder, stage, "retention")
    answers = pq.read_table(folder / "evaluations" / f"{stage}-000000-heldout.parquet").to_pylist()
    row: dict[str, Any] = {
        "concise": interval(mean_estimate(list(concise.values()))),
        "retention": interval(mean_estimate(list(retained.values()))),
        "words": round(sum(len(json.loads(a["messages"])[-1]["content"].split()) for a in answers) / len(answers), 1),
        "example": json.loads(answers[0]["messages"])[-1]["content"],
    }
    if before is not None:
        old = passed(before, "sft", "heldout")
        wins = [(concise[task] - old[task] + 1) / 2 for task in sorted(concise)]
        lost = compare_paired(passed(before, "sft", "retention"), retained)
        row |= {"win_rate": interval(mean_estimate(wins)), "retention_change": interval(lost.difference)}
    return row


def training_row(folder: Path) -> dict[str, Any]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    pairs = [record for record in records if "pairs/accuracy" in record]
    steps = [record for record in records if record["stage"] == "preference" and "loss" in record]
    return {
        "pairs": {
            record["step"]: {
                name.removeprefix("pairs/"): round(value, 4) for name, value in record.items() if "pairs/" in name
            }
            for record in pairs
        },
        "loss": [round(record["loss"], 4) for record in steps],
        "seconds_of_updates": round(sum(record["time/step_s"] for record in steps), 1),
    }


def interval(estimate: Estimate) -> list[float]:
    return [round(100 * number, 1) for number in (estimate.value, estimate.low, estimate.high)]


def write(out: Path, results: dict[str, Any]) -> None:
    manifest = build_manifest(hashes={}, verifiers={}, redactor=Redactor(), argv=["benchmarks/preference.py"])
    out.write_text(json.dumps({"manifest": manifest, "results": results}, indent=1) + "\n")
    commit = ((manifest["git"]["rlvr"] or {}).get("commit") or "unknown")[:12]
    machine = f"{manifest['machine']['cores']} cores of {manifest['machine']['cpu']}, no GPU"
    lines = [
        "# Preferences on SmolLM2-135M-Instruct",
        "",
        f"`python benchmarks/preference.py`, {time.strftime('%Y-%m-%d')}, commit {commit}, {machine}.",
        "",
        "Percent with 95 % intervals over questions. *Concise*: answers to held-out questions (topics never trained on) that the rule "
        "accepts. *Win rate*: against the warm start `sft`, a tie counts half. *Retention*: held-out arithmetic, which the warm start "
        "taught.",
        "",
        "| policy | concise | win rate | words an answer | held-out pairs | retention | change of retention |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in results.items():
        last = row["pairs"][max(row["pairs"])]["accuracy"] if "pairs" in row else None
        cells = [
            name,
            shown(row["concise"]),
            shown(row.get("win_rate")),
            f"{row['words']:.0f}",
            "-" if last is None else f"{100 * last:.0f}",
            shown(row["retention"]),
            shown(row.get("retention_change")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "The first held-out question, answered:", ""]
    lines += [f"- {name}: {' '.join(row['example'].split())[:300]}" for name, row in results.items()]
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")


def shown(numbers: list[float] | None) -> str:
    return "-" if numbers is None else f"{numbers[0]:.1f} [{numbers[1]:.1f}, {numbers[2]:.1f}]"


if __name__ == "__main__":
    main()
