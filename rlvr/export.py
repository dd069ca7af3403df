"""`rlvr export`: from a run folder to files that vLLM, transformers and peft load without rlvr."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml

from rlvr.checkpoint import checkpoints
from rlvr.config.load import parse_config
from rlvr.config.schema import Config
from rlvr.errors import RlvrError
from rlvr.model_card import model_card
from rlvr.run_folder import CONFIG
from rlvr.run_record import read_run


def export_run(run: Path, output: Path, *, merge: bool = False, which: str = "best") -> str:
    """Writes the adapter (or, with `merge`, a whole model in the base's number format) to `output`; returns a sentence.

    `which` is `best` (of the RL stage on held-out tasks; the last where no evaluation ran in it, or a later stage trained on),
    `last`, or a checkpoint's name. Raises `RlvrError` where there is nothing to export, or `output` holds something already.
    """
    config = _config_of(run)
    source, described, stage = _weights_of(run, which, config.stages)
    if output.exists() and any(output.iterdir()):
        raise RlvrError(f"{output} is not empty; choose another folder")
    if config.adapter.kind == "lora" and merge:
        _merge(config, source, output)
        _describe(run, output, described, stage, merged=True)
        return f"merged model of {described} written to {output}"
    shutil.copytree(source, output, dirs_exist_ok=True)
    if config.adapter.kind == "lora":
        _name_base(output, config.model.name)
    _save_tokenizer(config, output)
    _describe(run, output, described, stage, merged=False)
    return f"{'adapter' if config.adapter.kind == 'lora' else 'model'} of {described} written to {output}"


def _config_of(run: Path) -> Config:
    file = run / CONFIG
    if not file.is_file():
        raise RlvrError(f"{run} is not a run folder ({CONFIG} not found): give the folder that `rlvr train` printed")
    return parse_config(yaml.safe_load(file.read_text(encoding="utf-8")), where=str(file))


def _weights_of(run: Path, which: str, stages: Sequence[str]) -> tuple[Path, str, str]:
    """Where they are, what they are called, and the last stage that they went through."""
    found = {checkpoint.path.name: checkpoint for checkpoint in checkpoints(run / "checkpoints")}
    after_rl = stages[stages.index("rl") + 1 :] if "rl" in stages else ()
    trained_on = any(checkpoint.stage in after_rl for checkpoint in found.values())
    if which == "best" and (run / "best").is_dir() and not trained_on:
        return run / "best", "the best policy on held-out tasks", "rl"
    if not found:
        raise RlvrError(f"{run}: there is no checkpoint to export yet")
    name = list(found)[-1] if which in ("best", "last") else which
    if name not in found:
        raise RlvrError(f"{run}: no checkpoint is called {which!r}; there are best, last, {', '.join(found)}")
    return found[name].adapter, f"checkpoint {name}", found[name].stage


def _merge(config: Config, adapter: Path, output: Path) -> None:
    """base + scale B A, computed in float32 and rounded once. Only for deployment: training never merges."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from rlvr.models import locate_model

    if config.model.quantization != "none":
        raise RlvrError(
            "--merge: the adapter was trained on a 4-bit base, and merged with the unrounded one it is another policy; "
            "export the adapter and serve it over the 4-bit base"
        )
    scores = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["task_type"] == "SEQ_CLS"
    kind = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    base = kind.from_pretrained(
        locate_model(config.model.name, config.model.revision),
        revision=config.model.revision,
        dtype=torch.float32,
        **({"num_labels": 1} if scores else {}),
    )
    merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    merged.to(getattr(torch, config.model.dtype)).save_pretrained(output)
    _save_tokenizer(config, output)


def _describe(run: Path, output: Path, described: str, stage: str, *, merged: bool) -> None:
    """Model card and config beside the weights."""
    card = model_card(read_run(run), weights=described, merged=merged, stage=stage)
    (output / "README.md").write_text(card, encoding="utf-8")
    shutil.copyfile(run / CONFIG, output / CONFIG)


def _save_tokenizer(config: Config, output: Path) -> None:
    from transformers import AutoTokenizer

    from rlvr.models import locate_model

    where = locate_model(config.model.name, config.model.revision)
    tokenizer = AutoTokenizer.from_pretrained(where, revision=config.model.revision)
    if config.model.chat_template is not None:
        tokenizer.chat_template = config.model.chat_template.read_text(encoding="utf-8")
    tokenizer.save_pretrained(output)


def _name_base(output: Path, name: str) -> None:
    """The adapter's config names the base as the user did, not this machine's cache folder."""
    file = output / "adapter_config.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    data["base_model_name_or_path"] = name
    file.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
