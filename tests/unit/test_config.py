"""Configs: precedence, presets, and every mistake in one message with the nearest known key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rlvr.algorithms import ALGORITHMS
from rlvr.config.load import load_config, parse_config, resolved
from rlvr.config.schema import Config
from rlvr.errors import RlvrError
from rlvr.run_name import check_same_run

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


EVAL = {"tasks": [{"source": "arithmetic"}]}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["engine.max_model_len=256", "rl.max_prompt_tokens=200", "rl.max_completion_tokens=80"],
            r"max_prompt_tokens \(200\) and rl\.max_completion_tokens \(80\).*max_model_len \(256\); lower .* to 176",
        ),
        (["engine.max_model_len=512"], r"rl\.max_completion_tokens \(512\) leaves no room for a prompt"),
        (
            ["engine.max_model_len=256", "rl.max_completion_tokens=80", f"eval={EVAL}"],
            r"eval\.max_completion_tokens \(512\)",
        ),
        (["adapter.kind=full", "rl.algorithm={preset: grpo, kl_coef: 0.1}"], "full fine-tuning keeps none"),
        (["eval={tasks: []}"], "eval: `tasks` is empty"),
        (["eval={tasks: [{source: arithmetic, weight: 2}]}"], "eval: sources of held-out tasks are joined, not mixed"),
        (
            ["eval={tasks: [{source: arithmetic}], retention: [{source: arithmetic, weight: 2}]}"],
            "eval: .* joined, not mixed",
        ),
        (
            ["sft={tasks: [{source: arithmetic, weight: 2}], steps: 1}"],
            "sft: sources of demonstrations are joined, not mixed",
        ),
        (["stages=[sft]", "sft={tasks: [], steps: 1}"], "sft: `tasks` is empty"),
    ],
)
def test_what_could_not_run_to_its_end_is_refused_when_the_config_is_read(
    config_file: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises(RlvrError, match=said):
        load_config(config_file, overrides)


@pytest.mark.parametrize(
    ("overrides", "prompt_tokens"),
    [
        ([], 1024),
        (["engine.max_model_len=256", "rl.max_completion_tokens=80"], 176),
        (["engine.max_model_len=256", "rl.max_completion_tokens=80", "rl.max_prompt_tokens=176"], 176),
        (["engine.max_model_len=256", "rl.max_completion_tokens=80", "rl.max_turns=8"], 176),
        (["engine.max_model_len=256", "stages=[sft]", "sft={tasks: [{source: arithmetic}], steps: 1}"], 1024),
        (["adapter.kind=full"], 1024),
        (
            [
                "adapter.kind=full",
                "rl.algorithm.kl_coef=0.1",
                "stages=[sft]",
                "sft={tasks: [{source: arithmetic}], steps: 1}",
            ],
            1024,
        ),
    ],
)
def test_prompts_take_what_completions_leave_unless_a_limit_is_given(
    config_file: Path, overrides: list[str], prompt_tokens: int
) -> None:
    config = load_config(config_file, overrides)
    assert config.rl is not None
    assert config.rl.max_prompt_tokens == prompt_tokens
    assert parse_config(yaml.safe_load(yaml.safe_dump(resolved(config)))) == config


@pytest.mark.parametrize(
    "change", ["engine.max_model_len=4096", "engine.max_sequences=8", "engine.gpu_memory_utilization=0.2"]
)
def test_a_run_that_ran_out_of_memory_or_length_can_be_resumed_with_another_amount(
    config_file: Path, tmp_path: Path, change: str
) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(resolved(load_config(config_file))))
    check_same_run(tmp_path, resolved(load_config(config_file, [change])))
    with pytest.raises(RlvrError, match=r"rl\.group_size was 8, is 4"):
        check_same_run(tmp_path, resolved(load_config(config_file, [change, "rl.group_size=4"])))


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
