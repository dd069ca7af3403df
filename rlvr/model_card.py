"""README.md of an exported adapter or model: what it is, what made it, how good it is, and how to make it again.

Every number comes from the run folder; what the folder does not say, the card does not say.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from rlvr.engines.lora_room import LORA_RANKS
from rlvr.run_record import RunRecord

SHOWN_REASONS = 4
METHODS = {
    "sft": "supervised fine-tuning",
    "preference": "preference optimization",
    "rl": "reinforcement learning from verifiable rewards",
    "reward_model": "learning from preference pairs to score completions",
}
TAGS = {
    "sft": "sft",
    "preference": "preference-optimization",
    "rl": "reinforcement-learning",
    "reward_model": "reward-model",
}


def model_card(run: RunRecord, *, weights: str, merged: bool, stage: str | None = None) -> str:
    """Markdown with the metadata block that model hubs read; `weights` says which ones, `merged` whether they hold the base.

    `stage` is the last one that the weights went through, by default the run's last.
    """
    config = run.config
    base = config["model"]["name"]
    adapter = config["adapter"]["kind"] == "lora" and not merged
    stages = _stages(run, stage)
    scores = stages[-1] == "reward_model"
    metadata: dict[str, Any] = {
        "base_model": base,
        "tags": [*(TAGS[stage] for stage in stages), "rlvr", *(["lora"] if adapter else [])],
    }
    metadata |= {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-classification" if scores else "text-generation",
    }
    lines = ["---", yaml.safe_dump(metadata, sort_keys=False).strip(), "---", "", f"# {run.name}", ""]
    kind = "LoRA adapter for" if adapter else "Model made from"
    trained = f"trained by {', then '.join(METHODS[stage] for stage in stages)}"
    lines += [f"{'Reward model: ' if scores else ''}{kind} `{base}`, {trained}; {weights}.", ""]
    lines += [
        "## Scores",
        "",
        *(_reward_scores(run) if scores else _scores(run)),
        "",
        "## Training",
        "",
        *_training(run, stages),
        "",
        "## Data and verifiers",
        "",
        *_data(run, stages),
    ]
    lines += [
        "",
        "## Use",
        "",
        *(_use_reward_model(adapter) if scores else _use(base, config["adapter"]["rank"] if adapter else None)),
        "",
        "## Make it again",
        "",
        *_again(run),
    ]
    return "\n".join(lines) + "\n"


def _stages(run: RunRecord, last: str | None) -> list[str]:
    """Stages that the weights went through; a run has at least one, since it has weights."""
    ran = [stage for stage in run.config["stages"] if stage in run.stages] or list(run.config["stages"])
    return ran[: ran.index(last) + 1] if last in ran else ran


def _scores(run: RunRecord) -> Iterator[str]:
    summary = run.summary or {}
    evaluations: Sequence[Mapping[str, Any]] = summary.get("evaluations") or []
    if not evaluations:
        if not run.held_out:
            yield "No held-out evaluation was made, so nothing says how good these weights are."
            return
        yield "| policy | pass@1 (95 % interval) |"
        yield "| --- | --- |"
        for found in run.held_out:
            yield f"| {found.label}, {found.name} | {100 * found.value:.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}] |"
        return
    yield "Held-out tasks; intervals are over tasks."
    yield ""
    yield "| policy | tasks | pass@1 (95 % interval) | most common reasons |"
    yield "| --- | --- | --- | --- |"
    for evaluation in evaluations:
        reasons = ", ".join(
            f"{_cell(name)} {100 * share:.0f} %" for name, share in list(evaluation["reasons"].items())[:SHOWN_REASONS]
        )
        yield f"| {_cell(evaluation['label'])} | {evaluation['tasks']} | {_percent(evaluation['pass@1'])} | {reasons} |"
    for source, estimate in evaluations[-1]["per_source"].items():
        yield f"| {_cell(evaluations[-1]['label'])}, {_cell(source)} | {estimate['n']} | {_percent(estimate)} | |"
    for label, gain in (summary.get("gains") or {}).items():
        d = gain["difference"]
        yield ""
        yield (
            f"{evaluations[-1]['label']} against {label}, task by task: {100 * d['value']:+.1f} points [{100 * d['low']:+.1f}, "
            f"{100 * d['high']:+.1f}], p = {gain['p_value']:.4f}."
        )


def _reward_scores(run: RunRecord) -> Iterator[str]:
    """Of a reward model, which was not evaluated on tasks."""
    found = [held_out for held_out in run.held_out if (held_out.stage, held_out.name) == ("reward_model", "pairs")]
    if not found:
        yield "No held-out pairs were given, so nothing says how good these weights are."
        return
    last = found[-1]
    yield (
        f"Of held-out pairs it gives the chosen completion the higher reward in {100 * last.value:.1f} % "
        f"[{100 * last.low:.1f}, {100 * last.high:.1f}]."
    )


def _training(run: RunRecord, stages: Sequence[str]) -> Iterator[str]:
    config, rl = run.config, run.config.get("rl") or {}
    yield f"- stages: {', '.join(stages)}; seed {config['seed']}"
    if adapter := config["adapter"]:
        if adapter["kind"] == "lora":
            yield f"- LoRA: rank {adapter['rank']}, alpha {adapter['alpha']:g}, on {_cell(str(adapter['target_modules']))}"
        else:
            yield "- all weights"
    yield f"- base in {config['model']['dtype']}, quantization {config['model']['quantization']}"
    for stage in stages:
        section = config.get(stage) or {}
        if stage != "rl" and section:
            preset = f"{section['algorithm']['preset']}, " if stage == "preference" else ""
            yield (
                f"- {stage}: {preset}{len(run.steps(stage))} steps of {section['batch_size']} examples, learning rate "
                f"{section['optimizer']['learning_rate']:g}"
            )
    if "rl" in stages and (steps := run.steps("rl")):
        algorithm = rl["algorithm"]
        sampling = "on" if algorithm["dynamic_sampling"] else "off"
        yield (
            f"- algorithm: {algorithm['preset']} (clip {algorithm['clip_low']:g} / {algorithm['clip_high']:g}, "
            f"{algorithm['token_weights']}, KL {algorithm['kl_coef']:g}, dynamic sampling {sampling})"
        )
        yield (
            f"- {len(steps)} steps of {rl['prompts_per_step']} prompts x {rl['group_size']} completions of at most "
            f"{rl['max_completion_tokens']} tokens at temperature {rl['temperature']:g}, learning rate {rl['optimizer']['learning_rate']:g}"
        )
        yield f"- {sum(step.get('tokens/generated', 0.0) for step in steps):,.0f} tokens sampled"


def _data(run: RunRecord, stages: Sequence[str]) -> Iterator[str]:
    for section in (*stages, "eval"):
        for key in ("tasks", "held_out", "retention"):
            for part in (run.config.get(section) or {}).get(key) or []:
                arguments = ", ".join(f"{name}={value}" for name, value in (part.get("args") or {}).items())
                what = section if key == "tasks" else f"{section}, {key.replace('_', '-')}"
                yield f"- {what}: `{_cell(str(part['source']))}`{f' ({_cell(arguments)})' if arguments else ''}"
    for name, version in (run.manifest.get("verifiers") or {}).items():
        yield f"- verifier `{_cell(name)}`: {_cell(str(version))}"
    for name, digest in (run.manifest.get("hashes") or {}).items():
        yield f"- hash of {name}: `{digest}`"


def _use(base: str, rank: int | None) -> Iterator[str]:
    """How to load it; `rank` is the adapter's, None where the base is part of it."""
    yield "```python"
    yield "from transformers import AutoModelForCausalLM, AutoTokenizer"
    yield ""
    if rank is not None:
        yield "from peft import PeftModel"
        yield ""
        yield f"model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({base!r}), 'FOLDER')"
    else:
        yield "model = AutoModelForCausalLM.from_pretrained('FOLDER')"
    yield "tokenizer = AutoTokenizer.from_pretrained('FOLDER')"
    yield "```"
    yield ""
    if rank is None:
        yield "`vllm serve FOLDER`"
    else:
        # Without its rank vLLM has room for 16, and refuses a larger adapter.
        room = next((known for known in LORA_RANKS if known >= rank), rank)
        yield f"`vllm serve {base} --enable-lora --max-lora-rank {room} --lora-modules rlvr=FOLDER`"


def _use_reward_model(adapter: bool) -> Iterator[str]:
    kind = "AutoPeftModelForSequenceClassification" if adapter else "AutoModelForSequenceClassification"
    yield "```python"
    yield f"from {'peft' if adapter else 'transformers'} import {kind}"
    yield "from transformers import AutoTokenizer"
    yield ""
    yield f"model = {kind}.from_pretrained('FOLDER', num_labels=1)"
    yield "tokenizer = AutoTokenizer.from_pretrained('FOLDER')"
    yield "```"
    yield ""
    yield "The reward is read at the end of the assistant's turn. As a verifier of rlvr: `reward_model`, with `verifier_args`"
    yield '`{"model": "FOLDER"}`; its scores are opinions and verify nothing.'


def _again(run: RunRecord) -> Iterator[str]:
    manifest = run.manifest
    commit = (manifest.get("git") or {}).get("rlvr") or {}
    where = f"commit {commit['commit']}{' (with changes)' if commit.get('dirty') else ''}" if commit else "an installed copy"
    versions = ", ".join(f"{name} {version}" for name, version in (manifest.get("versions") or {}).items())
    command = shlex.join(map(str, manifest.get("command") or []))
    yield f"`config.yaml` beside this file is the whole resolved config; it was run as `{command}`"
    yield f"from {where}, with {versions}:"
    yield ""
    yield "```sh"
    yield "rlvr train config.yaml"
    yield "```"


def _percent(estimate: Mapping[str, float]) -> str:
    return f"{100 * estimate['value']:.1f} % [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"


def _cell(text: str) -> str:
    """Text of a plug-in or a data set, harmless in a table and in HTML."""
    flat = " ".join(text.split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
