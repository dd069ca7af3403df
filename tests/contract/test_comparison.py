"""Comparisons of finished runs and of configs: what is refused, what is counted, what is said."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from rlvr.commands.compare import compare_words, show
from rlvr.comparison import compare_runs
from rlvr.config.load import load_config, resolved
from rlvr.errors import RlvrError
from rlvr.origins import origin, unlike
from rlvr.report.tables import Difference
from rlvr.run_folder import RunFolder
from rlvr.variants import check_differences, recipes_of_configs, recipes_of_words, train_variants, variants_of_folders
from tests.made_runs import made_config, made_run

ROOT = Path(__file__).resolve().parents[2]


def runs(root: Path, accuracies: dict[str, float], seeds: int = 3, **rl: Any) -> list[Path]:
    return [
        made_run(
            root,
            f"{algorithm}-{seed}",
            steps=2,
            groups=1,
            evaluations=(1, 2),
            accuracy=accuracy,
            seed=100 * seed + len(algorithm),
            config=made_config(seed, algorithm=algorithm, **rl),
        )
        for algorithm, accuracy in accuracies.items()
        for seed in range(seeds)
    ]


def test_folders_become_variants_with_their_seeds(tmp_path: Path) -> None:
    variants = variants_of_folders(runs(tmp_path, {"grpo": 0.5, "dapo": 0.5})[::-1])
    assert {variant.name: variant.seeds for variant in variants} == {"grpo": (0, 1, 2), "dapo": (0, 1, 2)}


def test_a_large_difference_is_told_and_a_small_one_is_not(tmp_path: Path) -> None:
    told = compare_runs(variants_of_folders(runs(tmp_path / "a", {"grpo": 0.05, "dapo": 0.95})))
    assert told.pairs[0].verdict.startswith("dapo is better than grpo by ")
    assert told.tasks == 20
    dapo = told.variants[1]
    assert dapo.accuracy.value == pytest.approx(sum(dapo.per_seed) / 3)
    assert [point.label for point in dapo.curve] == ["rl 1", "rl 2"]
    last = dapo.curve[-1]
    assert (last.lowest, last.highest) == (min(dapo.per_seed), max(dapo.per_seed))
    assert last.accuracy == pytest.approx(sum(dapo.per_seed) / 3)
    assert dapo.tokens == 2 * 640
    assert dapo.tracked["waste"] == pytest.approx(0.25)
    untold = compare_runs(variants_of_folders(runs(tmp_path / "b", {"grpo": 0.5, "dapo": 0.5})))
    assert untold.pairs[0].verdict.startswith("No difference shown between grpo and dapo")


def unscore(run: Path, *tasks: int) -> None:
    """As if the verifier had failed on every completion of these tasks in the run's last evaluation."""
    file = max((run / "evaluations").glob("*heldout*"))
    table = pq.read_table(file)
    failed = {f"held-{task}" for task in tasks}
    rows = zip(table["task_id"].to_pylist(), table["score"].to_pylist(), strict=True)
    scores = [None if task in failed else score for task, score in rows]
    column = table.schema.get_field_index("score")
    pq.write_table(table.set_column(column, "score", pa.array(scores, pa.float64())), file)


def test_tasks_on_which_a_verifier_failed_are_left_out_everywhere_and_told(tmp_path: Path) -> None:
    paths = runs(tmp_path, {"grpo": 0.05, "dapo": 0.95})
    unscore(paths[0], 3)
    unscore(paths[5], 3, 4)
    result = compare_runs(variants_of_folders(paths))
    assert (result.tasks, result.unscored) == (18, 2)
    assert result.variants[0].accuracy.n == result.pairs[0].statistics.difference.n == 18
    assert result.pairs[0].verdict.startswith("dapo is better than grpo by ")
    assert (result.left_out() or "").startswith("2 of 20 held-out tasks are left out")
    console = Console(file=io.StringIO(), width=200)
    words = list(map(str, paths))
    compare_words(words, console, seeds=1, comparing=["rl.algorithm"], output=tmp_path / "out", target=None, jobs=1)
    assert "2 of 20 held-out tasks are left out" in console.file.getvalue()  # type: ignore[attr-defined]
    for written in ("comparison.md", "report.html"):
        assert "2 of 20 held-out tasks are left out" in (tmp_path / "out" / written).read_text()
    unscore(paths[0], *range(20))
    with pytest.raises(RlvrError, match="no held-out task was scored by every run"):
        compare_runs(variants_of_folders(paths))


def test_what_differs_is_shown_as_it_is_written(tmp_path: Path) -> None:
    found = compare_runs(variants_of_folders(runs(tmp_path, {"grpo": 0.5, "dapo": 0.5}, seeds=1)))
    stream = io.StringIO()
    row = Difference(key="rl.tasks.0.args.prompt_template", values=("{question} [/INST]", "[a-z]+"))
    show(Console(file=stream, width=200), found, [row])
    assert "{question} [/INST]" in stream.getvalue()
    assert "[a-z]+" in stream.getvalue()


def test_other_tasks_are_not_mistaken_for_unscored_ones(tmp_path: Path) -> None:
    paths = runs(tmp_path, {"grpo": 0.5, "dapo": 0.5}, seeds=2)
    file = max((paths[3] / "evaluations").glob("*heldout*"))
    pq.write_table(pq.read_table(file).slice(2), file)  # both samples of the first task
    with pytest.raises(RlvrError, match="the runs differ in 1 held-out tasks"):
        compare_runs(variants_of_folders(paths))


@pytest.mark.parametrize("scores", [{"grpo": 0.1, "dapo": 0.9}, {"grpo": 0.9, "dapo": 0.1}])
def test_one_seed_is_never_a_verdict_on_the_algorithms(tmp_path: Path, scores: dict[str, float]) -> None:
    result = compare_runs(variants_of_folders(runs(tmp_path, scores, seeds=1)))
    said = re.search(
        r"One seed cannot tell .* (\w+)-0 is ahead by ([\d.]+) .* interval \+([\d.]+) to \+([\d.]+) over tasks",
        result.pairs[0].verdict,
    )
    assert said is not None
    assert said[1] == max(scores, key=lambda name: scores[name])
    assert float(said[3]) < float(said[2]) < float(said[4])
    assert result.pairs[0].adjusted_p is None


def test_several_variants_pay_for_several_comparisons(tmp_path: Path) -> None:
    result = compare_runs(variants_of_folders(runs(tmp_path, {"grpo": 0.2, "dapo": 0.5, "rloo": 0.5})))
    assert len(result.pairs) == 3
    for pair in result.pairs:
        assert pair.adjusted_p is not None
        assert pair.statistics.p_value is not None
        assert pair.adjusted_p >= pair.statistics.p_value


def test_a_baseline_is_tested_against_every_other_and_nothing_else(tmp_path: Path) -> None:
    variants = variants_of_folders(runs(tmp_path, {"grpo": 0.2, "dapo": 0.5, "rloo": 0.5}))
    result = compare_runs(variants, baseline="dapo")
    assert [(pair.baseline, pair.candidate) for pair in result.pairs] == [("dapo", "grpo"), ("dapo", "rloo")]
    everything = {(pair.baseline, pair.candidate): pair for pair in compare_runs(variants).pairs}
    apart = result.pairs[0]
    assert apart.statistics.p_value == everything["grpo", "dapo"].statistics.p_value
    assert apart.adjusted_p is not None
    assert "after adjustment for 2 tests" in apart.verdict
    assert apart.adjusted_p <= 2 * (apart.statistics.p_value or 0)  # two tests share the error, not three
    with pytest.raises(RlvrError, match="--baseline ppo: the variants are grpo, dapo, rloo"):
        compare_runs(variants, baseline="ppo")


def test_variants_of_one_config_are_named_and_overridden() -> None:
    recipe = ROOT / "configs/ablation_dapo.yaml"
    words = [
        "dapo",
        "no_clip_higher rl.algorithm.clip_high=0.2",
        "grpo 'rl.algorithm={preset: grpo, kl_coef: 0.1}' rl.steps=7",
    ]
    recipes = recipes_of_words(recipe, ["rl.steps=5"], words)
    configs = {r.name: load_config(r.config, r.overrides) for r in recipes}
    pieces = {name: config.rl.algorithm for name, config in configs.items() if config.rl is not None}
    assert {name: (p.preset, p.clip_high, p.kl_coef) for name, p in pieces.items()} == {
        "dapo": ("dapo", 0.28, 0.0),
        "no_clip_higher": ("dapo", 0.2, 0.0),
        "grpo": ("grpo", 0.2, 0.1),
    }
    assert [config.rl.steps for config in configs.values() if config.rl is not None] == [5, 5, 7]


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        (["", "b"], "'' is no name for it"),
        (["a 'rl", "b"], "No closing quotation; give NAME"),
        (["rl.steps=3", "b"], r"'rl\.steps=3' is no name for it"),
        (["../a", "b"], r"'\.\./a' is no name"),
        (["a rl.steps", "b"], r"'rl\.steps' is not KEY=VALUE"),
        (["a", "a rl.steps=3"], "there is a variant a already"),
    ],
)
def test_unclear_variants_are_refused(variants: list[str], said: str) -> None:
    with pytest.raises(RlvrError, match=said):
        recipes_of_words(ROOT / "configs/ablation_dapo.yaml", [], variants)


def test_what_made_the_runs_is_said_and_where_it_is_not_the_same(tmp_path: Path) -> None:
    found = [
        run for variant in variants_of_folders(runs(tmp_path, {"grpo": 0.5, "dapo": 0.5}, seeds=1)) for run in variant.runs
    ]
    assert unlike(found) == []
    git = {"rlvr": {"commit": "1234567890abcdef", "dirty": True}}
    machine = {"cpu": "Z80", "cores": 1, "gpus": [{"name": "H200"}]}
    other = dict(found[1].manifest) | {"git": git, "machine": machine, "hashes": {"adapter": "sha256:ff"}}
    other["sandbox"] = {"preload": "numpy"}
    mixed = [found[0], dataclasses.replace(found[1], manifest=other)]
    told = unlike(mixed)
    assert [sentence.split(", which")[0].split("same ")[1] for sentence in told] == [
        "commit",
        "machine",
        "adapter to start from",
        "sandbox preload",
    ]
    assert "1234567890ab with uncommitted changes (dapo-0)" in told[0]
    assert "1 cores of Z80, H200" in origin(mixed)


def test_cost_of_an_accuracy_counts_tokens_up_to_the_first_evaluation_there(tmp_path: Path) -> None:
    paths = runs(tmp_path, {"grpo": 0.0, "dapo": 1.0})
    result = compare_runs(variants_of_folders(paths), target=0.9)
    assert result.variants[0].tokens_to_target == (None, None, None)
    assert result.variants[1].tokens_to_target == (640.0, 640.0, 640.0)


def test_runs_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    paths = runs(tmp_path, {"grpo": 0.5, "dapo": 0.5}, seeds=2)
    with pytest.raises(RlvrError, match=r"grpo has seeds 0, 1 and dapo.* 0: give the same"):
        compare_runs(variants_of_folders(paths[:3]))
    with pytest.raises(RlvrError, match="at least two variants"):
        compare_runs(variants_of_folders(paths[:2]))
    (paths[0] / "summary.json").unlink()
    with pytest.raises(RlvrError, match="is not finished"):
        compare_runs(variants_of_folders(paths))
    (paths[0] / "summary.json").write_text("{}")
    manifest = json.loads((paths[3] / "manifest.json").read_text())
    manifest["hashes"]["held_out"] = "other"
    (paths[3] / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RlvrError, match="differ in their held_out"):
        compare_runs(variants_of_folders(paths))


def test_a_difference_that_is_not_compared_is_refused_until_it_is_named() -> None:
    a, b = made_config(), made_config(algorithm="dapo", optimizer={"learning_rate": 3e-4})
    with pytest.raises(
        RlvrError, match=r"rl\.optimizer\.learning_rate: 0\.0001 / 0\.0003.*--comparing rl\.optimizer\.learning_rate"
    ):
        check_differences({"a": a, "b": b}, ["rl.algorithm"])
    found = check_differences({"a": a, "b": b}, ["rl.algorithm", "rl.optimizer"])
    assert "rl.optimizer.learning_rate" in {row.key for row in found}
    with pytest.raises(RlvrError, match="the same config"):
        check_differences({"a": a, "b": a}, ["rl.algorithm"])
    with pytest.raises(RlvrError, match="a and c are the same config"):
        check_differences({"a": a, "b": b, "c": made_config(seed=7)}, ["rl.algorithm", "rl.optimizer"])
    older = {key: value for key, value in made_config(algorithm="dapo").items() if key not in ("alarms", "continue_if")}
    assert {row.key.split(".")[1] for row in check_differences({"a": a, "older": older}, ["rl.algorithm"])} == {"algorithm"}
    check_differences({"a": made_config(seed=1), "b": made_config(seed=2, algorithm="dapo")}, ["rl.algorithm"])


def test_the_shipped_pair_differs_in_the_algorithm_alone() -> None:
    from rlvr.config.load import load_config, resolved

    pair = {name: resolved(load_config(ROOT / f"configs/compare_{name}.yaml")) for name in ("grpo", "dapo")}
    assert {row.key.split(".")[1] for row in check_differences(pair, ["rl.algorithm"])} == {"algorithm"}


def test_words_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    def compare(*words: str, variants: Sequence[str] = (), baseline: str | None = None) -> None:
        compare_words(
            words,
            Console(),
            seeds=1,
            comparing=["rl.algorithm"],
            output=None,
            target=None,
            jobs=1,
            variants=variants,
            baseline=baseline,
        )

    paths = [str(path) for path in runs(tmp_path, {"grpo": 0.5, "dapo": 0.5}, seeds=1)]
    with pytest.raises(RlvrError, match="two or more finished run folders"):
        compare(paths[0])
    with pytest.raises(RlvrError, match="not a mixture"):
        compare(paths[0], "configs/demo.yaml")
    with pytest.raises(RlvrError, match="finished runs cannot be changed"):
        compare(*paths, "rl.steps=3")
    with pytest.raises(RlvrError, match="one config and two or more variants"):
        compare("configs/demo.yaml", variants=["a"])
    with pytest.raises(RlvrError, match="--baseline c: the variants are a, b"):
        compare("configs/demo.yaml", variants=["a", "b rl.algorithm=grpo"], baseline="c")


def test_training_refuses_before_it_starts_anything(tmp_path: Path) -> None:
    pair = [ROOT / "configs/compare_grpo.yaml", ROOT / "configs/compare_dapo.yaml"]
    with pytest.raises(RlvrError, match="needs an eval section"):
        train_variants(recipes_of_configs(pair, ["eval=null"]), 1, tmp_path, ["rl.algorithm"])
    with pytest.raises(RlvrError, match=r"differ in more than rl\.optimizer"):
        train_variants(recipes_of_configs(pair, []), 1, tmp_path, ["rl.optimizer"])
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_with_a_secret_in_its_config_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run folder has the secret redacted, the config has it in full: still the same run, and nothing to print."""
    secret = "hf_abcdefghijklmnopqrstuvwxyz0123"
    source = {"source": "hf", "args": {"name": "org/private", "token": secret}}
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump({**made_config(0, tasks=[source]), "eval": {"tasks": [source]}}))
    out = tmp_path / "runs"
    recipes = recipes_of_words(file, [], ["grpo rl.algorithm=grpo", "dapo rl.algorithm=dapo"])
    for recipe in recipes:
        folder = RunFolder.create(out, f"{recipe.name}-0")
        settings = [*recipe.overrides, "seed=0", f"output_dir={out}", f"run_name={recipe.name}-0"]
        folder.describe(resolved(load_config(file, settings)), hashes={}, verifiers={})
        folder.write_summary({})
    monkeypatch.setattr("subprocess.Popen", None)  # all runs are finished: nothing is started
    assert [v.name for v in train_variants(recipes, 1, out, ["rl.algorithm"])] == ["grpo", "dapo"]
    assert secret not in (out / "grpo-0" / "config.yaml").read_text()
    other = recipes_of_words(file, ["rl.group_size=2"], ["grpo rl.algorithm=grpo", "dapo rl.algorithm=dapo"])
    with pytest.raises(RlvrError, match=r"rl\.group_size was 4, is 2") as refused:
        train_variants(other, 1, out, ["rl.algorithm"])
    assert secret not in str(refused.value)
