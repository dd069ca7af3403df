"""DAPO's parts one by one on SmolLM2-135M: DAPO whole, DAPO without one part each, and GRPO, from one shared warm start.

    python benchmarks/ablation.py --seeds 2

Runs `rlvr compare` on configs/ablation_dapo.yaml, so only settings of `rl.algorithm` differ; finished runs are kept, and an interrupted
benchmark goes on where it was. DAPO's fifth part, no KL, is no difference here: no preset has one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rlvr.commands.compare import markdown
from rlvr.comparison import Comparison, compare_runs
from rlvr.origins import origin, unlike
from rlvr.run_record import RunRecord, read_run
from rlvr.variants import Variant, check_differences

RECIPE = "configs/ablation_dapo.yaml"
VARIANTS = {
    "dapo": "",
    "no_clip_higher": "rl.algorithm.clip_high=0.2",
    "no_dynamic_sampling": "rl.algorithm.dynamic_sampling=false",
    "no_token_mean": "rl.algorithm.token_weights=sequence_mean",
    "no_overlong": "rl.algorithm.overlong_buffer_tokens=0",
    "grpo": "rl.algorithm=grpo",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/ablation.json"))
    arguments = parser.parse_args()
    warm = arguments.runs / "warm-start"
    if not (warm / "summary.json").is_file():
        resume = ["--resume"] if (warm / "config.yaml").is_file() else []
        rlvr(
            "train", RECIPE, f"output_dir={arguments.runs}", "run_name=warm-start", "stages=[sft]", "eval.base=true", *resume
        )
    (last,) = sorted((warm / "checkpoints").glob("sft-*"))[-1:]
    variants = [word for name, settings in VARIANTS.items() for word in ("--variant", f"{name} {settings}".strip())]
    shared = ["stages=[rl]", f"adapter.init_from={last / 'adapter'}", "--baseline", "dapo", "-o", str(arguments.runs)]
    for seeds in range(1, arguments.seeds + 1):  # the page is there after every seed
        rlvr("compare", RECIPE, *shared, "--seeds", str(seeds), *variants)
        write(arguments.out, f"python benchmarks/ablation.py --seeds {seeds}", arguments.runs, seeds, read_run(warm))


def rlvr(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "rlvr.cli", *words], check=True)


def write(out: Path, command: str, runs: Path, seeds: int, warm: RunRecord) -> None:
    variants = [Variant(name=name, runs=tuple(read_run(runs / f"{name}-{s}") for s in range(seeds))) for name in VARIANTS]
    result = compare_runs(variants, baseline="dapo")
    records = [run for variant in variants for run in variant.runs]
    differences = check_differences({v.name: v.runs[0].config for v in variants}, ["rl.algorithm"])
    evaluations: list[dict[str, Any]] = (warm.summary or {})["evaluations"]
    start = {e["label"]: e["pass@1"] for e in evaluations}
    result_json = {
        "command": command,
        "made": origin(records),
        "recipe": RECIPE,
        "start": start,
        "comparison": result.to_json(),
        "runs": {run.name: curve(run) for run in records},
    }
    page = markdown(result, differences, f"`{command}`, {origin(records)}.", unlike(records)).splitlines()
    page[0] = "# DAPO's parts one by one, SmolLM2-135M-Instruct"
    page[3:3] = ["", *preface(result, start)]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result_json, indent=2) + "\n")
    out.with_suffix(".md").write_text("\n".join(page) + "\n")


def curve(run: RunRecord) -> dict[str, list[float]]:
    names = (
        "reward/mean",
        "tokens/generated",
        "groups/waste_fraction",
        "clip_high_fraction",
        "completion/truncated_fraction",
    )
    return {name: [round(step[name], 5) for step in run.steps("rl") if name in step] for name in names}


def preface(result: Comparison, start: dict[str, Any]) -> list[str]:
    """What the comparison is, and what so few runs can tell."""
    found = [pair for pair in result.pairs if pair.adjusted_p is not None and pair.adjusted_p < 0.05]
    seeds = len(result.variants[0].seeds)
    told = (
        "Differences that chance does not explain: " + "; ".join(f"{p.baseline} and {p.candidate}" for p in found) + "."
        if found
        else "No part's removal shows a difference that chance would not explain."
    )
    return [
        f"All runs begin with one warm start ({percent(start['sft'])}; the base model {percent(start['base'])}) and have the same "
        "tasks, seeds and number of steps; they differ in what the table at the end says. "
        f"The {len(result.pairs)} tests against DAPO share one error (Holm). {told}",
        "",
        "What this can show: whether a part matters much on easy tasks in a few steps of a small model, and what it costs in tokens. "
        f"What it cannot: anything small. With {seeds} seed{'s' if seeds > 1 else ''} the intervals below are wide, and parts that are "
        "there for long training (clip-higher against the collapse of entropy, the overlong penalty against growing answers) have "
        "little to do in it.",
    ]


def percent(estimate: dict[str, float]) -> str:
    return f"{100 * estimate['value']:.1f} % [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"


if __name__ == "__main__":
    main()
