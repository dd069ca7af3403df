"""DPO, KTO and SimPO on a preference made by a rule: does the held-out win rate move, and what does it cost?

    python benchmarks/preference.py

One warm start (configs/dpo.yaml's SFT stage) is trained once and shared; each algorithm's own config then trains its preference stage from
that adapter. A policy wins a held-out question against the warm start where the rule accepts its answer and not the other's; a tie counts
half. A reward model learns the same pairs. Then the whole of configs/pipeline.yaml (SFT, DPO, GRPO) is trained, and both kinds of tasks
are counted after each of its stages. Finished runs are kept, so an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from learning import train

from rlvr.manifest import build_manifest
from rlvr.redaction import Redactor
from rlvr.statistics import Estimate, compare_paired, mean_estimate

ALGORITHMS = ("dpo", "kto", "simpo")
REWARD_MODEL, PIPELINE = "reward_model", "pipeline"
RECIPES = (*ALGORITHMS, REWARD_MODEL, PIPELINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=RECIPES)
    parser.add_argument("--runs", type=Path, default=Path("runs/preference"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/preference.json"))
    arguments = parser.parse_args()
    warm = train("configs/dpo.yaml", arguments.runs, "warm-start", ["stages=[sft]", "continue_if={}"])
    (last,) = sorted((warm / "checkpoints").glob("sft-*"))[-1:]
    policies = {"base": policy_row(warm, "base", None), "sft": policy_row(warm, "sft", None)}
    for name in [name for name in ALGORITHMS if name in arguments.recipes]:
        settings = ["stages=[preference]", "continue_if={}", f"adapter.init_from={last / 'adapter'}", "eval.base=false"]
        folder = train(f"configs/{name}.yaml", arguments.runs, name, settings)
        policies[name] = {**policy_row(folder, "preference", warm), **training_row(folder, "preference")}
        print(name, json.dumps(policies[name]), flush=True)
    results: dict[str, Any] = {"policies": policies}
    if REWARD_MODEL in arguments.recipes:
        results[REWARD_MODEL] = training_row(
            train(f"configs/{REWARD_MODEL}.yaml", arguments.runs, REWARD_MODEL, []), REWARD_MODEL
        )
    if PIPELINE in arguments.recipes:
        results[PIPELINE] = pipeline_rows(train(f"configs/{PIPELINE}.yaml", arguments.runs, PIPELINE, []))
    write(arguments.out, results, commits_of(arguments.runs))


def commits_of(runs: Path) -> str:
    """What the runs were made with, each of which says it itself."""
    manifests = [json.loads(file.read_text()) for file in sorted(runs.glob("*/manifest.json"))]
    return ", ".join(sorted({(m["git"]["rlvr"] or {}).get("commit", "unknown")[:12] for m in manifests}))


def answers(folder: Path, evaluation: str) -> list[dict[str, Any]]:
    """The rows of one evaluation, such as `sft-000000-heldout`."""
    return pq.read_table(folder / "evaluations" / f"{evaluation}.parquet").to_pylist()


def passed(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Task -> whether its answer passed."""
    return {row["task_id"]: float(row["passed"]) for row in rows}


def text_of(row: dict[str, Any]) -> str:
    return json.loads(row["messages"])[-1]["content"]


def words(rows: list[dict[str, Any]]) -> float:
    return round(sum(len(text_of(row).split()) for row in rows) / len(rows), 1)


def policy_row(folder: Path, stage: str, before: Path | None) -> dict[str, Any]:
    """What a policy does on held-out questions and on retention tasks, and against the warm start."""
    answered = answers(folder, f"{stage}-000000-heldout")
    concise, retained = passed(answered), passed(answers(folder, f"{stage}-000000-retention"))
    row: dict[str, Any] = {
        "concise": interval(mean_estimate(list(concise.values()))),
        "retention": interval(mean_estimate(list(retained.values()))),
        "words": words(answered),
        "example": text_of(answered[0]),
    }
    if before is not None:
        old = passed(answers(before, "sft-000000-heldout"))
        wins = [(concise[task] - old[task] + 1) / 2 for task in sorted(concise)]
        lost = compare_paired(passed(answers(before, "sft-000000-retention")), retained)
        row |= {"win_rate": interval(mean_estimate(wins)), "retention_change": interval(lost.difference)}
    return row


def pipeline_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """After each stage of the pipeline: its own tasks, the style it was aligned to, and the change of both since the stage before."""
    finished = sorted(folder.glob("evaluations/*-retention.parquet"), key=lambda file: file.stat().st_mtime_ns)
    rows: dict[str, dict[str, Any]] = {}
    before: tuple[dict[str, float], dict[str, float]] | None = None
    for name in [file.name.removesuffix("-retention.parquet") for file in finished]:
        questions = answers(folder, f"{name}-retention")
        now = passed(answers(folder, f"{name}-heldout")), passed(questions)
        row: dict[str, Any] = {"words": words(questions)}
        for i, what in enumerate(("arithmetic", "concise")):
            row[what] = interval(mean_estimate(list(now[i].values())))
            if before is not None:
                row[f"{what}_change"] = interval(compare_paired(before[i], now[i]).difference)
        rows[name.partition("-")[0]], before = row, now
    return rows


def training_row(folder: Path, stage: str) -> dict[str, Any]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    pairs = [record for record in records if "pairs/accuracy" in record]
    steps = [record for record in records if record["stage"] == stage and "loss" in record]
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


def write(out: Path, results: dict[str, Any], commits: str) -> None:
    manifest = build_manifest(hashes={}, verifiers={}, redactor=Redactor(), argv=["benchmarks/preference.py"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"manifest": manifest, "commits": commits, **results}, indent=1) + "\n")
    machine = f"{manifest['machine']['cores']} cores of {manifest['machine']['cpu']}, no GPU"
    policies: dict[str, dict[str, Any]] = results["policies"]
    lines = [
        "# Preferences on SmolLM2-135M-Instruct",
        "",
        f"`python benchmarks/preference.py`, {time.strftime('%Y-%m-%d')}, commit {commits}, {machine}.",
        "",
        "Percent with 95 % intervals over questions. *Concise*: answers to held-out questions (topics never trained on) that the rule "
        "accepts. *Win rate*: against the warm start `sft`, a tie counts half. *Retention*: held-out arithmetic, which the warm start "
        "taught.",
        "",
        *table(
            ["policy", "concise", "win rate", "words an answer", "held-out pairs", "retention", "change of retention"],
            [
                [
                    name,
                    *shown(row, "concise", "win_rate"),
                    f"{row['words']:.0f}",
                    pairs_of(row),
                    *shown(row, "retention", "retention_change"),
                ]
                for name, row in policies.items()
            ],
        ),
        "",
        "The first held-out question, answered:",
        "",
        *[f"- {name}: {' '.join(row['example'].split())[:300]}" for name, row in policies.items()],
    ]
    if REWARD_MODEL in results:
        lines += ["", *about_reward_model(results[REWARD_MODEL])]
    if PIPELINE in results:
        lines += ["", *about_pipeline(results[PIPELINE])]
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")


def about_reward_model(row: dict[str, Any]) -> list[str]:
    return [
        "## A reward model",
        "",
        "`configs/reward_model.yaml`, on the same pairs. Every chosen answer is the shorter one, so length alone explains all of them; the "
        "correlation of reward and length within pairs says how much of it the model uses.",
        "",
        *table(
            ["optimizer steps", "held-out pairs", "margin", "correlation with length"],
            [
                [str(step), accuracy(found), f"{found['margin']:.2f}", f"{found['length_correlation']:.2f}"]
                for step, found in row["pairs"].items()
            ],
        ),
    ]


def about_pipeline(stages: dict[str, dict[str, Any]]) -> list[str]:
    columns = ("arithmetic", "arithmetic_change", "concise", "concise_change")
    return [
        "## SFT, DPO and GRPO in one run",
        "",
        "`configs/pipeline.yaml`: SFT and GRPO train the arithmetic, DPO the short answers. Held-out tasks after each stage, and the "
        "change since the stage before.",
        "",
        *table(
            ["after", "arithmetic", "change", "concise", "change", "words an answer"],
            [[name, *shown(row, *columns), f"{row['words']:.0f}"] for name, row in stages.items()],
        ),
    ]


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def pairs_of(row: dict[str, Any]) -> str:
    """Accuracy on held-out pairs at the end."""
    return accuracy(row["pairs"][max(row["pairs"])]) if "pairs" in row else "-"


def accuracy(found: dict[str, float]) -> str:
    (cell,) = shown({"pairs": [100 * found[name] for name in ("accuracy", "accuracy_low", "accuracy_high")]}, "pairs")
    return cell


def shown(row: dict[str, Any], *names: str) -> list[str]:
    """A cell for each number with its interval; `-` where it was not measured."""
    return ["{:.1f} [{:.1f}, {:.1f}]".format(*row[name]) if name in row else "-" for name in names]


if __name__ == "__main__":
    main()
