"""GRPO and DAPO on SmolLM2-135M over several seeds: learning curves and held-out pass@1 with intervals.

    python benchmarks/learning.py --seeds 0 1 2

One warm start (the demo's) is trained once and shared; every run then starts from its adapter and differs only in algorithm and
seed (task order and sampling). Held-out tasks and their sampling seeds are those of the demo. Finished runs are kept, so an interrupted
benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rlvr.comparison import compare_runs
from rlvr.variants import variants_of_folders

RECIPE = "configs/demo.yaml"
ALGORITHMS = {"grpo": "rl.algorithm=grpo", "dapo": "rl.algorithm={preset: dapo, overlong_buffer_tokens: 8}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--eval-every", type=int, default=10)
    parser.add_argument("--runs", type=Path, default=Path("runs/learning"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/learning.json"))
    arguments = parser.parse_args()
    warm = train(RECIPE, arguments.runs, "warm-start", ["stages=[sft]", "eval.base=true"])
    (last,) = sorted((warm / "checkpoints").glob("sft-*"))[-1:]
    runs: dict[str, dict[str, Any]] = {}
    for seed in arguments.seeds:
        for algorithm, override in ALGORITHMS.items():
            settings = [
                "stages=[rl]",
                override,
                f"seed={seed}",
                f"rl.steps={arguments.steps}",
                f"adapter.init_from={last / 'adapter'}",
                "eval.base=false",
                f"eval.every={arguments.eval_every}",
            ]
            folder = train(RECIPE, arguments.runs, f"{algorithm}-{seed}", settings)
            runs[f"{algorithm}-{seed}"] = summary(folder, algorithm, seed)
            print(f"{algorithm} seed {seed}: {runs[f'{algorithm}-{seed}']['final']}", flush=True)
    write(arguments, warm, runs)


def train(recipe: str, runs: Path, name: str, settings: list[str]) -> Path:
    """The run folder of this recipe: trained unless it is done already, resumed where it was cut off."""
    folder = runs / name
    if (folder / "summary.json").is_file():
        return folder
    command = [sys.executable, "-m", "rlvr.cli", "train", recipe, f"output_dir={runs}", f"run_name={name}", *settings]
    if (folder / "config.yaml").is_file():
        command.append("--resume")
    subprocess.run(command, check=True)
    return folder


def summary(folder: Path, algorithm: str, seed: int) -> dict[str, Any]:
    evaluations = json.loads((folder / "summary.json").read_text())["evaluations"]
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["stage"] == "rl" and "groups/kept" in record]
    return {
        "algorithm": algorithm,
        "seed": seed,
        "held_out": {e["label"]: e["pass@1"] for e in evaluations},
        "final": evaluations[-1]["pass@1"],
        "reward": [round(record["reward/mean"], 4) for record in steps],
        "generated_tokens": sum(record["tokens/generated"] for record in steps),
        "trained_groups": sum(record["groups/kept"] for record in steps),
        "sampled_groups": sum(record["groups/sampled"] for record in steps),
        "seconds": sum(record["time/step_s"] for record in steps),
    }


def write(arguments: argparse.Namespace, warm: Path, runs: dict[str, dict[str, Any]]) -> None:
    manifest = json.loads((warm / "manifest.json").read_text())
    start = json.loads((warm / "summary.json").read_text())["evaluations"]
    result = {
        "command": " ".join(["python", *sys.argv]),
        "date": time.strftime("%Y-%m-%d"),
        "commit": manifest["git"]["rlvr"],
        "machine": {key: manifest["machine"][key] for key in ("cpu", "cores", "gpus")},
        "versions": manifest["versions"],
        "start": {e["label"]: e["pass@1"] for e in start},
        "runs": runs,
        "comparison": compare_runs(variants_of_folders([arguments.runs / name for name in runs])).to_json()["pairs"],
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    arguments.out.with_suffix(".md").write_text(report(result))
    print(f"written to {arguments.out} and {arguments.out.with_suffix('.md')}")


def report(result: dict[str, Any]) -> str:
    machine = result["machine"]
    commit = (result["commit"] or {}).get("commit", "unknown")
    lines = [
        "# GRPO and DAPO on SmolLM2-135M-Instruct",
        "",
        f"`{result['command']}`, {result['date']}, commit {commit[:12]}, {machine['cores']} cores of {machine['cpu']}, no GPU.",
        "",
        "Held-out tasks: those of the demo, 4 samples each at temperature 1. pass@1 in percent with its 95 % interval over tasks.",
        "",
        f"Base model: {percent(result['start']['base'])}. After the shared warm start: {percent(result['start']['sft'])}.",
        "",
    ]
    labels = list(next(iter(result["runs"].values()))["held_out"])
    lines.append("| run | " + " | ".join(labels) + " | tokens sampled | groups trained / sampled | minutes |")
    lines.append("| --- |" + " --- |" * (len(labels) + 3))
    for name, run in result["runs"].items():
        cells = [percent(run["held_out"][label]) for label in labels]
        groups = f"{run['trained_groups']:.0f} / {run['sampled_groups']:.0f}"
        lines.append(
            f"| {name} | " + " | ".join(cells) + f" | {run['generated_tokens']:.0f} | {groups} | {run['seconds'] / 60:.1f} |"
        )
    lines.append("")
    for algorithm in ALGORITHMS:
        finals = [run["final"]["value"] for run in result["runs"].values() if run["algorithm"] == algorithm]
        spread = f", standard deviation {100 * statistics.stdev(finals):.1f}" if len(finals) > 1 else ""
        lines.append(f"- {algorithm}: mean over seeds {100 * statistics.mean(finals):.1f} %{spread}")
    lines += ["", *(pair["verdict"] for pair in result["comparison"])]
    lines += ["", "Mean reward of everything sampled, per step:", ""]
    lines += [f"- {name}: {' '.join(f'{value:.2f}' for value in run['reward'])}" for name, run in result["runs"].items()]
    return "\n".join(lines) + "\n"


def percent(estimate: dict[str, float]) -> str:
    return f"{100 * estimate['value']:.1f} [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"


if __name__ == "__main__":
    main()
