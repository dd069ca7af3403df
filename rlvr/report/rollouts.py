"""Which rollouts a report embeds, and how: an index of columns, and compressed chunks that the page decodes when they are looked at.

Whole groups are kept or left out, an equal share of every step's, so that a group is never shown without its losers. Which ones is
drawn from a hash, not from what they say. What is left out or cut is counted and stated.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rlvr.redaction import Redactor
from rlvr.report.tokens import TokenPieces, token_pieces
from rlvr.run_record import RolloutFile, RunRecord

MOST_ROLLOUTS = 50_000
MOST_CHARACTERS = 200_000  # of one text; the middle is cut, since an answer stands at the end
MOST_TOKENS = 20_000  # of one completion with log-probs
GROUP_CHUNK_BYTES = 160_000  # uncompressed: about a millisecond to decode
BYTES_PER_CHARACTER = (
    0.45  # of text in the file, compressed and as base64; only the first guess, the size is checked after packing
)
BYTES_PER_TOKEN = 2.2
BYTES_PER_ROLLOUT = 45
SMALLEST_SHARE = 1e-4

LIGHT = ("task_id", "data_source", "verifier", "sample", "reward", "advantage", "score", "passed", "reason", "finish_reason")
HEAVY = (
    "prompt",
    "answer",
    "completion",
    "explanation",
    "parsed",
    "token_ids",
    "sampled_logprobs",
    "loss_mask",
    "policy_version",
)
INDEX = (
    "run", "evaluation", "stage", "step", "task", "source", "reason", "finish", "sample", "score", "reward", "advantage",
    "passed", "tokens", "characters", "chunk", "group", "row",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackedRollouts:
    """What goes into the page."""

    index: str
    """Base64 of gzipped JSON: `columns` (lists of equal length) and `names` (what the numbers in some of them stand for)."""
    chunks: tuple[str, ...]
    """Base64 of gzipped JSON: a list of groups each."""
    shown: int
    total: int
    cut_texts: int
    notes: tuple[str, ...]
    """Sentences for the reader: sampling, cuts, missing tokenizers."""

    @property
    def size(self) -> int:
        return len(self.index) + sum(map(len, self.chunks))


def pack_rollouts(runs: Sequence[RunRecord], budget_bytes: int) -> PackedRollouts:
    """Packs as many whole groups as fit the budget, the same share of every file."""
    files = [(number, file) for number, run in enumerate(runs) for file in run.rollout_files()]
    rows, cost = _measure(file for _, file in files)
    largest = min(1.0, MOST_ROLLOUTS / max(1, rows))
    share = min(largest, budget_bytes / max(1.0, cost))
    pieces = [token_pieces(run.config) for run in runs]
    while True:
        packed = _Packer(runs, pieces, total=rows).pack(files, share)
        better = min(largest, share * 0.9 * budget_bytes / max(1, packed.size))  # the guess corrected by what came out
        enough = share >= largest or better < 1.3 * share
        if (packed.size <= budget_bytes and enough) or share < SMALLEST_SHARE:
            return packed
        # Once a pack was too large, only ever less.
        largest = min(largest, better) if packed.size > budget_bytes else largest
        share = better


def _measure(files: Iterator[RolloutFile]) -> tuple[int, float]:
    """Rollouts in all files, and a guess of what all of them would weigh in the page."""
    rows, cost = 0, 0.0
    for file in files:
        table = pq.read_table(file.path, columns=["completion", "explanation", "token_ids"])
        rows += table.num_rows
        characters = _capped_sum("utf8_length", table["completion"], MOST_CHARACTERS)
        others = _capped_sum("utf8_length", table["explanation"], MOST_CHARACTERS)
        tokens = _capped_sum("list_value_length", table["token_ids"], MOST_TOKENS)
        cost += BYTES_PER_CHARACTER * (characters + others) + BYTES_PER_TOKEN * tokens + BYTES_PER_ROLLOUT * table.num_rows
    return rows, cost


def _capped_sum(length: str, column: pa.ChunkedArray, most: int) -> int:
    lengths = pc.call_function("min_element_wise", [pc.call_function(length, [column]), pa.scalar(most)])
    return pc.call_function("sum", [lengths]).as_py() or 0


class _Packer:
    def __init__(self, runs: Sequence[RunRecord], pieces: Sequence[TokenPieces | str], total: int) -> None:
        self.runs = runs
        self.pieces = pieces
        self.total = total
        self.columns: dict[str, list[Any]] = {name: [] for name in INDEX}
        self.names: dict[str, dict[str, int]] = {
            name: {} for name in ("task", "source", "reason", "finish", "evaluation", "stage")
        }
        self.chunks: list[str] = []
        self.open: list[str] = []
        self.open_bytes = 0
        self.cut_texts = 0
        self.unaligned = 0
        self.redactor = Redactor()  # what tools said is not in the recorded text, which has been through one

    def pack(self, files: Sequence[tuple[int, RolloutFile]], share: float) -> PackedRollouts:
        for run, file in files:
            self._add_file(run, file, share)
        self._close_chunk()
        names = {name: list(known) for name, known in self.names.items()}
        shown = len(self.columns["run"])
        index = _packed(_compact({"columns": self.columns, "names": names, "runs": [run.name for run in self.runs]}))
        return PackedRollouts(
            index=index,
            chunks=tuple(self.chunks),
            shown=shown,
            total=self.total,
            cut_texts=self.cut_texts,
            notes=tuple(self._notes(shown)),
        )

    def _notes(self, shown: int) -> Iterator[str]:
        if shown < self.total:
            yield (
                f"{shown:,} of {self.total:,} rollouts are in this file: whole groups, the same share of every step, drawn by a hash of "
                "their place and not by what they say. Every figure outside this section counts all of them."
            )
        elif shown:
            yield f"All {shown:,} rollouts are in this file."
        if self.cut_texts:
            yield (
                f"{self.cut_texts:,} texts longer than {MOST_CHARACTERS:,} characters are cut in the middle; the run folder has them "
                "whole."
            )
        for run, pieces in zip(self.runs, self.pieces, strict=True):
            if isinstance(pieces, str):
                yield f"{run.name}: no colours on tokens, because {pieces}."
        if self.unaligned:
            yield f"{self.unaligned:,} completions show no colours on tokens: their tokens do not join to their text."

    def _add_file(self, run: int, file: RolloutFile, share: float) -> None:
        columns = [name for name in (*LIGHT, *HEAVY) if name in pq.read_schema(file.path).names]
        table = pq.read_table(file.path, columns=columns)
        kept = _drawn(_groups(table), share, file)
        chosen = table.take(pa.array([row for group in kept for row in group], pa.int64())).to_pylist()
        start = 0
        for group in kept:
            self._add_group(run, file, chosen[start : start + len(group)])
            start += len(group)

    def _add_group(self, run: int, file: RolloutFile, rows: list[dict[str, Any]]) -> None:
        first = rows[0]
        group = {
            "prompt": self._text(first["prompt"]),
            "answer": self._text(first["answer"]),
            "verifier": first.get("verifier") or "",
            "rows": [self._details(run, row) for row in rows],
        }
        text = _compact(group)
        if self.open and self.open_bytes + len(text) > GROUP_CHUNK_BYTES:
            self._close_chunk()
        for number, row in enumerate(rows):
            self._add_index(run, file, row, number)
        self.open.append(text)
        self.open_bytes += len(text)

    def _details(self, run: int, row: dict[str, Any]) -> dict[str, Any]:
        text = row["completion"]
        shown = self._text(text)
        details: dict[str, Any] = {"text": shown, "version": row["policy_version"]}
        for name in ("explanation", "parsed"):
            if row[name]:
                details[name] = self._text(row[name])
        ids, logprobs, mask = (row[name] or [] for name in ("token_ids", "sampled_logprobs", "loss_mask"))
        pieces = self.pieces[run]
        if (
            shown is text
            and not isinstance(pieces, str)
            and 0 < len(ids) <= MOST_TOKENS
            and len(logprobs) == len(ids) == len(mask)
        ):
            found = pieces.aligned(ids, mask, text)
            if found is None or (found[0] != text and self.redactor.text(found[0]) != found[0]):
                self.unaligned += 1
                return details
            details["text"], details["cuts"] = found
            details["logprobs"] = [_hundredths(value) for value in logprobs]
            if not all(mask):
                details["mask"] = [int(m) for m in mask]
        return details

    def _add_index(self, run: int, file: RolloutFile, row: dict[str, Any], number: int) -> None:
        values = {
            "run": run,
            "evaluation": self._name("evaluation", file.evaluation or ""),
            "stage": self._name("stage", file.stage),
            "step": file.step,
            "task": self._name("task", row["task_id"]),
            "source": self._name("source", row["data_source"] or "tasks"),
            "reason": self._name("reason", row["reason"]),
            "finish": self._name("finish", row["finish_reason"]),
            "sample": row["sample"],
            "score": _rounded(row["score"]),
            "reward": _rounded(row["reward"]),
            "advantage": _rounded(row["advantage"]),
            "passed": int(row["passed"]),
            "tokens": len(row["token_ids"] or []),
            "characters": len(row["completion"]),
            "chunk": len(self.chunks),
            "group": len(self.open),
            "row": number,
        }
        for name, value in values.items():
            self.columns[name].append(value)

    def _name(self, column: str, value: str) -> int:
        return self.names[column].setdefault(value, len(self.names[column]))

    def _text(self, text: str) -> str:
        if len(text) <= MOST_CHARACTERS:
            return text
        self.cut_texts += 1
        half = MOST_CHARACTERS // 2
        return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters cut ...]\n{text[-half:]}"

    def _close_chunk(self) -> None:
        if self.open:
            self.chunks.append(_packed(f"[{','.join(self.open)}]"))
            self.open, self.open_bytes = [], 0


def _groups(table: pa.Table) -> list[list[int]]:
    """Rows of each group: a task's rows, split where sample numbers start again (a carried-over group is written twice)."""
    found: list[list[int]] = []
    latest: dict[str, tuple[list[int], int]] = {}
    pairs = zip(table["task_id"].to_pylist(), table["sample"].to_pylist(), strict=True)
    for row, (task, sample) in enumerate(pairs):
        group, last = latest.get(task, (None, -1))
        if group is None or sample <= last:
            group = []
            found.append(group)
        group.append(row)
        latest[task] = (group, sample)
    return found


def _drawn(groups: list[list[int]], share: float, file: RolloutFile) -> list[list[int]]:
    """The given share of the groups, at least one, in their order."""
    if share >= 1.0:
        return groups
    count = max(1, math.floor(share * len(groups))) if groups else 0

    def rank(number: int) -> bytes:
        return hashlib.blake2b(f"{file.path.name}/{number}".encode(), digest_size=8).digest()

    chosen = sorted(sorted(range(len(groups)), key=rank)[:count])
    return [groups[number] for number in chosen]


def _packed(text: str) -> str:
    # mtime 0: the same run gives the same file.
    return base64.b64encode(gzip.compress(text.encode("utf-8", "backslashreplace"), compresslevel=6, mtime=0)).decode()


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)


def _hundredths(logprob: float) -> int:
    """-log p in hundredths of a nat, at most 9999; impossible ones (an engine's -inf or NaN) count as that."""
    return min(9999, round(-100 * logprob)) if math.isfinite(logprob) else 9999
