"""Configs: precedence, presets, and every mistake in one message with the nearest known key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rlvr.algorithms import ALGORITHMS
from rlvr.config.load import load_config, parse_config, resolved
from rlvr.config.schema import Config
from rlvr.errors import RlvrError

MINIMAL = """
model: {name: smollm2-135m-instruct}
rl:
  algorithm: grpo
  tasks: [{source: arithmetic}]
  optimizer: {learning_rate: 1e-5}
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL)
    return path


def test_command_line_beats_file_beats_preset_beats_default(config_file: Path) -> None:
    config = load_config(config_file, ["rl.algorithm.preset=dapo", "rl.algorithm.clip_high=0.3", "rl.steps=7"])
    assert config.rl is not None
    assert config.rl.algorithm.preset == "dapo"
    assert config.rl.algorithm.clip_high == 0.3  # command line
    assert config.rl.algorithm.dynamic_sampling is True  # preset
    assert config.rl.steps == 7
    assert config.rl.optimizer.learning_rate == 1e-5  # file
    assert config.rl.group_size == 8  # default


def test_scientific_notation_is_a_number_even_in_free_form_arguments(config_file: Path) -> None:
    config = load_config(config_file, ["rl.tasks.0.args.scale=1e-6", "rl.tasks.0.args.big=3E5"])
    assert config.rl is not None
    assert config.rl.tasks[0].args == {"scale": 1e-6, "big": 3e5}


def test_all_mistakes_come_at_once_with_suggestions(config_file: Path) -> None:
    with pytest.raises(RlvrError) as caught:
        load_config(
            config_file,
            ["rl.group_sise=4", "modle.name=x", "rl.steps=-1", "rl.algorithm.clip_hihg=0.3", "engine.kind=sglang"],
        )
    message = str(caught.value)
    assert "5 mistakes" in message
    assert "rl.group_sise: unknown key, did you mean `group_size`?" in message
    assert "modle: unknown key, did you mean `model`?" in message
    assert "rl.algorithm.clip_hihg: unknown key, did you mean `clip_high`?" in message
    assert "rl.steps" in message
    assert "greater than 0" in message
    assert "engine.kind" in message
    assert "'vllm' or 'hf'" in message


def test_keys_of_task_lists_are_checked_too(config_file: Path) -> None:
    with pytest.raises(RlvrError, match=r"rl\.tasks\.0\.wieght: unknown key, did you mean `weight`\?"):
        load_config(config_file, ["rl.tasks.0.wieght=2"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rl.steps", "an override is key=value"),
        ("rl.tasks.3.weight=1", "3 is not an index of that list of 1"),
        ("rl.steps.more=1", "rl.steps is a plain value"),
        ("rl.algorithm=dapoo", "did you mean `dapo`"),
    ],
)
def test_a_bad_override_says_so(config_file: Path, override: str, message: str) -> None:
    with pytest.raises(RlvrError) as caught:
        load_config(config_file, [*(["rl.steps=5"] if "more" in override else []), override])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n- b\n", "a config is a mapping"),
        ("a: [1,\n", "not valid YAML"),
        ("stages: [rl]\nmodel: {name: x}\n", "no section of that name"),
    ],
)
def test_a_bad_file_says_so(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(RlvrError) as caught:
        load_config(path)
    assert message in str(caught.value)


def test_a_missing_file_points_to_the_recipes(tmp_path: Path) -> None:
    with pytest.raises(RlvrError, match=r"no such config file; .* configs/"):
        load_config(tmp_path / "nope.yaml")


@pytest.mark.parametrize("preset", sorted(ALGORITHMS))
def test_a_resolved_config_reads_back_to_the_same(config_file: Path, preset: str) -> None:
    config = load_config(config_file, [f"rl.algorithm={preset}"])
    text = yaml.safe_dump(resolved(config))
    assert parse_config(yaml.safe_load(text)) == config


def test_every_recipe_is_valid() -> None:
    recipes = sorted(Path("configs").glob("*.yaml"))
    assert recipes
    for recipe in recipes:
        load_config(recipe)


def test_every_field_says_what_it_is() -> None:
    def undocumented(model: type) -> list[str]:
        missing = []
        for name, field in model.model_fields.items():
            annotation = field.annotation
            section = isinstance(annotation, type) and hasattr(annotation, "model_fields")
            if section:
                missing += [f"{name}.{inner}" for inner in undocumented(annotation)]
            elif not field.description and model is not Config:
                missing.append(name)
        return missing

    assert undocumented(Config) == []
