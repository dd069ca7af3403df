"""Comparisons of finished runs and of configs: what is refused, what is counted, what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rlvr.commands.compare import compare_words
from rlvr.comparison import compare_runs
from rlvr.errors import RlvrError
from rlvr.variants import check_differences, train_variants, variants_of_folders
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
    assert [label for label, *_ in dapo.curve] == ["rl 1", "rl 2"]
    assert dapo.tokens == 2 * 640
    assert dapo.tracked["waste"] == pytest.approx(0.25)
    untold = compare_runs(variants_of_folders(runs(tmp_path / "b", {"grpo": 0.5, "dapo": 0.5})))
    assert untold.pairs[0].verdict.startswith("No difference shown between grpo and dapo")


def test_one_seed_is_never_a_verdict_on_the_algorithms(tmp_path: Path) -> None:
    result = compare_runs(variants_of_folders(runs(tmp_path, {"grpo": 0.0, "dapo": 1.0}, seeds=1)))
    assert "One seed cannot tell" in result.pairs[0].verdict
    assert result.pairs[0].adjusted_p is None


def test_several_variants_pay_for_several_comparisons(tmp_path: Path) -> None:
    result = compare_runs(variants_of_folders(runs(tmp_path, {"grpo": 0.2, "dapo": 0.5, "rloo": 0.5})))
    assert len(result.pairs) == 3
    for pair in result.pairs:
        assert pair.adjusted_p is not None
        assert pair.statistics.p_value is not None
        assert pair.adjusted_p >= pair.statistics.p_value


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
    check_differences({"a": made_config(seed=1), "b": made_config(seed=2, algorithm="dapo")}, ["rl.algorithm"])


def test_the_shipped_pair_differs_in_the_algorithm_alone() -> None:
    from rlvr.config.load import load_config, resolved

    pair = {name: resolved(load_config(ROOT / f"configs/compare_{name}.yaml")) for name in ("grpo", "dapo")}
    assert {row.key.split(".")[1] for row in check_differences(pair, ["rl.algorithm"])} == {"algorithm"}


def test_words_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    def compare(*words: str) -> None:
        compare_words(words, Console(), seeds=1, comparing=["rl.algorithm"], output=None, target=None, jobs=1)

    paths = [str(path) for path in runs(tmp_path, {"grpo": 0.5, "dapo": 0.5}, seeds=1)]
    with pytest.raises(RlvrError, match="two or more configs, or two or more finished run folders"):
        compare(paths[0])
    with pytest.raises(RlvrError, match="not a mixture"):
        compare(paths[0], "configs/demo.yaml")
    with pytest.raises(RlvrError, match="finished runs cannot be changed"):
        compare(*paths, "rl.steps=3")


def test_training_refuses_before_it_starts_anything(tmp_path: Path) -> None:
    pair = [ROOT / "configs/compare_grpo.yaml", ROOT / "configs/compare_dapo.yaml"]
    with pytest.raises(RlvrError, match="needs an eval section"):
        train_variants(pair, ["eval=null"], 1, tmp_path, ["rl.algorithm"])
    with pytest.raises(RlvrError, match=r"differ in more than rl\.optimizer"):
        train_variants(pair, [], 1, tmp_path, ["rl.optimizer"])
    assert list(tmp_path.iterdir()) == []
