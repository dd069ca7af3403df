"""What a report says and embeds, without a browser."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rlvr.report.curves import curves
from rlvr.report.narrative import headline, means, phases
from rlvr.report.rollouts import PackedRollouts, pack_rollouts
from rlvr.report.tables import config_differences, score_tables
from rlvr.report.tokens import TokenPieces
from rlvr.run_record import read_run, read_runs
from tests.made_runs import made_config, made_run, step_metrics


def unpacked(text: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(text)))


def rows_of(packed: PackedRollouts) -> list[dict[str, Any]]:
    """Index and text joined again, as the page does it."""
    index = unpacked(packed.index)
    chunks = [unpacked(chunk) for chunk in packed.chunks]
    columns = index["columns"]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for row in rows:
        row["task_id"] = index["names"]["task"][row["task"]]
        row["text"] = chunks[row["chunk"]][row["group"]]["rows"][row["row"]]["text"]
    return rows


def test_every_rollout_is_embedded_once_with_its_own_text(tmp_path: Path) -> None:
    run = made_run(tmp_path, steps=3, groups=3, evaluations=(3,))
    packed = pack_rollouts(read_runs([run]), 10**7)
    expected = [
        (row["task_id"], row["sample"], row["completion"], row["score"])
        for file in [*sorted((run / "rollouts").iterdir()), *sorted((run / "evaluations").iterdir())]
        for row in pq.read_table(file).to_pylist()
    ]
    found = [(row["task_id"], row["sample"], row["text"], row["score"]) for row in rows_of(packed)]
    assert sorted(found) == sorted(expected)
    assert packed.shown == packed.total == len(expected)
    assert packed.notes[0] == f"All {len(expected)} rollouts are in this file."


def test_a_small_budget_keeps_whole_groups_of_every_step_and_says_so(tmp_path: Path) -> None:
    run = made_run(
        tmp_path, steps=6, groups=30, group_size=4, text=lambda d: "".join(map(chr, d.choices(range(33, 127), k=500)))
    )
    packed = pack_rollouts(read_runs([run]), 150_000)
    rows = rows_of(packed)
    assert 0.5 * 150_000 < packed.size <= 150_000
    per_step = [len([row for row in rows if row["step"] == step]) for step in range(1, 7)]
    assert len(set(per_step)) == 1
    groups: dict[str, set[int]] = {}
    for row in rows:
        groups.setdefault(row["task_id"], set()).add(row["sample"])
    assert set(map(frozenset, groups.values())) == {frozenset(range(4))}
    assert f"{packed.shown} of 720 rollouts are in this file" in packed.notes[0]


def test_a_group_written_twice_stays_two_groups(tmp_path: Path) -> None:
    run = made_run(tmp_path, steps=1, groups=1)
    file = run / "rollouts" / "rl-000001.parquet"
    table = pq.read_table(file)
    import pyarrow as pa

    pq.write_table(pa.concat_tables([table, table]), file)
    rows = rows_of(pack_rollouts(read_runs([run]), 10**6))
    assert {(row["group"], row["sample"]) for row in rows} == {(g, s) for g in range(2) for s in range(4)}


def test_token_pieces_join_to_the_text_or_are_not_used(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the answer is 42"] * 5, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    pieces = TokenPieces(tmp_path / "tokenizer.json")
    for text in ("the answer is 42<|end|>", "snow ☃ and 😀 in it", "tab\tnew\nline é"):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        found = pieces.aligned(ids, [True] * len(ids), text)
        assert found is not None
        assert found[0] == text
        lengths = found[1]
        units = text.encode("utf-16-le")
        assert sum(lengths) * 2 == len(units)
        ends = [2 * sum(lengths[: i + 1]) for i in range(len(lengths))]
        assert [units[:end].decode("utf-16-le") for end in ends]  # no surrogate pair is cut
    assert pieces.aligned([*ids, 5], [True] * (len(ids) + 1), text) is None
    assert pieces.aligned([10**6], [True], "x") is None
    turns = [tokenizer.encode(part, add_special_tokens=False).ids for part in ("call<|end|>", "it says 42<|end|>", "so 42")]
    mask = [number != 1 for number, turn in enumerate(turns) for _ in turn]
    together = [i for turn in turns for i in turn]
    found = pieces.aligned(together, mask, "call<|end|>so 42")  # as recorded: what the policy wrote
    assert found is not None
    assert found[0] == "call<|end|>it says 42<|end|>so 42"
    assert sum(found[1]) == len(found[0])
    assert pieces.aligned(together, mask, "call<|end|>so 43") is None


def test_a_sentencepiece_vocabulary_has_its_own_spelling(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models

    vocabulary = {"<unk>": 0, "\u2581the": 1, "\u2581end": 2, "<0xE2>": 3, "<0x98>": 4, "<0x83>": 5}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert TokenPieces(tmp_path / "tokenizer.json").aligned([1, 2, 3, 4, 5], [True] * 5, "the end☃") == (
        "the end☃",
        [3, 4, 0, 0, 1],
    )


def test_phases_say_what_happened_and_what_to_do(tmp_path: Path) -> None:
    def metrics(step: int) -> dict[str, float]:
        if step <= 6:
            return step_metrics(0.02, groups__all_wrong=0.9, groups__zero_variance=0.95)
        return step_metrics(0.5, time__update_s=9.0, time__step_s=12.0)

    run = read_run(made_run(tmp_path, steps=12, metrics=metrics, evaluations=(6, 12)))
    first, *_, last = phases(run)
    assert first.title == "rl, steps 1 to 4"
    assert any("are all wrong" in finding and "choose easier tasks" in finding for finding in first.findings)
    assert any(fact.startswith("90 % of the groups all wrong") for fact in first.facts)
    assert last.findings == ()
    assert "most of it (75 %) in update" in " ".join(last.facts)
    assert headline(run).startswith("Held-out accuracy went from ")


def test_a_reason_that_a_step_did_not_see_counts_as_zero_there() -> None:
    assert means([{"reasons/ok": 1.0, "kl": 2.0}, {"reasons/mismatch": 1.0}]) == {
        "reasons/ok": 0.5,
        "reasons/mismatch": 0.5,
        "kl": 2.0,
    }


def test_scores_and_reasons_count_every_rollout(tmp_path: Path) -> None:
    run = made_run(tmp_path, steps=6, groups=5, evaluations=(6,))
    scores, reasons = score_tables(read_runs([run]))
    training, held_out = scores
    assert (training.where, training.source, training.verifier, training.rollouts) == ("training", "sums", "math", 120)
    assert (held_out.where, held_out.rollouts) == ("heldout", 40)
    assert sum(training.bars) == 120
    assert training.bars[0] + training.bars[-1] == 120
    assert training.bars[-1] / 120 == pytest.approx(training.mean)
    assert sum(row.count for row in reasons) == 120
    assert sum(row.share for row in reasons) == pytest.approx(1)


def test_config_differences_leave_out_names_and_show_what_is_missing() -> None:
    rows = config_differences(
        [made_config(seed=1) | {"run_name": "a"}, made_config(seed=2, algorithm="dapo") | {"extra": 1}]
    )
    found = {row.key: row.values for row in rows}
    assert found["seed"] == ("1", "2")
    assert found["rl.algorithm.preset"] == ("grpo", "dapo")
    assert found["extra"] == ("-", "1")
    assert "run_name" not in found
    assert "model.name" not in found


def test_every_metric_is_drawn_once_and_time_adds_up(tmp_path: Path) -> None:
    run = read_run(made_run(tmp_path, steps=3, metrics=lambda step: step_metrics(0.5, new__metric=1.0, kl=float("nan"))))
    data = curves([run], [(run.name, 1)])
    drawn = [name for chart in data["charts"] for name in chart["metrics"]]
    assert sorted(drawn) == sorted(name for name in run.metrics[0] if name not in ("stage", "step", "time"))
    assert {chart["title"]: chart["more"] for chart in data["charts"]}["new/metric"]
    columns = data["runs"][0]["stages"]["rl"]
    assert columns["tokens"] == [640.0, 1280.0, 1920.0]
    assert columns["metrics"]["kl"] == [None, None, None]
    split = columns["split"]
    assert [sum(split[phase][i] for phase in split) for i in range(3)] == pytest.approx([4.0] * 3, abs=0.01)
    assert split["wasted"][0] == pytest.approx(0.25 * 2.5, abs=0.01)
    json.dumps(data, allow_nan=False)
