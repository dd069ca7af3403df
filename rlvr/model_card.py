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


def model_card(run: RunRecord, *, weights: str, merged: bool) -> str:
    """Markdown with the metadata block that model hubs read; `weights` says which ones, `merged` whether they hold the base."""
    config = run.config
    base = config["model"]["name"]
    adapter = config["adapter"]["kind"] == "lora" and not merged
    metadata: dict[str, Any] = {
        "base_model": base,
        "tags": ["reinforcement-learning", "rlvr", *(["lora"] if adapter else [])],
    }
    metadata |= {"library_name": "peft" if adapter else "transformers", "pipeline_tag": "text-generation"}
    lines = ["---", yaml.safe_dump(metadata, sort_keys=False).strip(), "---", "", f"# {run.name}", ""]
    kind = "LoRA adapter for" if adapter else "Model made from"
    lines += [f"{kind} `{base}`, trained by reinforcement learning from verifiable rewards; {weights}.", ""]
    lines += [
        "## Scores",
        "",
        *_scores(run),
        "",
        "## Training",
        "",
        *_training(run),
        "",
        "## Data and verifiers",
        "",
        *_data(run),
    ]
    lines += [
        "",
        "## Use",
        "",
        *_use(base, config["adapter"]["rank"] if adapter else None),
        "",
        "## Make it again",
        "",
        *_again(run),
    ]
    return "\n".join(lines) + "\n"


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


def _training(run: RunRecord) -> Iterator[str]:
    config, rl = run.config, run.config.get("rl") or {}
    yield f"- stages: {', '.join(config['stages'])}; seed {config['seed']}"
    if adapter := config["adapter"]:
        if adapter["kind"] == "lora":
            yield f"- LoRA: rank {adapter['rank']}, alpha {adapter['alpha']:g}, on {_cell(str(adapter['target_modules']))}"
        else:
            yield "- all weights"
    yield f"- base in {config['model']['dtype']}, quantization {config['model']['quantization']}"
    if steps := run.steps("rl"):
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


def _data(run: RunRecord) -> Iterator[str]:
    for section, keys in (("sft", ("tasks",)), ("rl", ("tasks",)), ("eval", ("tasks", "retention"))):
        for key in keys:
            for part in (run.config.get(section) or {}).get(key) or []:
                arguments = ", ".join(f"{name}={value}" for name, value in (part.get("args") or {}).items())
                yield f"- {section}: `{_cell(str(part['source']))}`{f' ({_cell(arguments)})' if arguments else ''}"
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
