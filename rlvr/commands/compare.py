"""`rlvr compare`: what its words name, the runs it trains, and what it prints and writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rlvr.comparison import TRACKED, Comparison, VariantResult, compare_runs
from rlvr.errors import RlvrError
from rlvr.report.page import write_report
from rlvr.report.tables import Difference
from rlvr.run_folder import write_atomically
from rlvr.variants import check_differences, train_variants, variants_of_folders


def compare_words(
    words: Sequence[str],
    console: Console,
    *,
    seeds: int,
    comparing: Sequence[str],
    output: Path | None,
    target: float | None,
    jobs: int,
) -> Comparison:
    """Runs the comparison, prints it, and writes comparison.json, comparison.md and report.html to `output`."""
    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    paths = [Path(word) for word in words if word not in overrides]
    folders = [path for path in paths if path.is_dir()]
    if len(paths) < 2 or (folders and len(folders) < len(paths)):
        raise RlvrError("rlvr compare: give two or more configs, or two or more finished run folders, not a mixture")
    if folders:
        if overrides:
            raise RlvrError(f"{overrides[0]}: finished runs cannot be changed; settings are for configs")
        variants = variants_of_folders(folders)
        where = output or Path()
    else:
        where = output or Path("runs") / f"compare-{'-vs-'.join(path.stem for path in paths)}"
        try:
            variants = train_variants(paths, overrides, seeds, where, comparing, jobs=jobs)
        except KeyboardInterrupt:
            console.print("each run keeps what it saved; the same command goes on from there", markup=False)
            raise
    differences = check_differences({v.name: v.runs[0].config for v in variants}, comparing) if len(variants) > 1 else []
    result = compare_runs(variants, target)
    where.mkdir(parents=True, exist_ok=True)
    write_atomically(where / "comparison.json", json.dumps(result.to_json(), indent=2) + "\n")
    write_atomically(where / "comparison.md", markdown(result, differences))
    show(console, result, differences)
    runs = [run.path for variant in variants for run in variant.runs]
    colours = [number for number, variant in enumerate(variants) for _ in variant.runs]
    written = write_report(runs, where / "report.html", comparison=result, colours=colours)
    console.print(f"written to {where}: comparison.json, comparison.md, {written.path.name}", markup=False, soft_wrap=True)
    return result


def show(console: Console, result: Comparison, differences: Sequence[Difference]) -> None:
    if differences:
        table = Table(title="what differs", title_justify="left")
        for column in ("key", *(variant.name for variant in result.variants)):
            table.add_column(column)
        for row in differences:
            table.add_row(row.key, *row.values)
        console.print(table)
    table = Table(title=f"held-out accuracy on {result.tasks} tasks", title_justify="left")
    for column in HEADINGS:
        table.add_column(column.format(target=100 * result.target))
    for variant in result.variants:
        table.add_row(*(cell.replace("[", "\\[") for cell in cells(variant)))
    console.print(table)
    for pair in result.pairs:
        console.print(pair.verdict, markup=False, highlight=False)


HEADINGS = (
    "variant",
    "at the end (95 % over tasks)",
    "each seed",
    "tokens sampled",
    "minutes",
    "tokens to {target:.1f} %",
    "waste",
)


def cells(variant: VariantResult) -> list[str]:
    reached = [tokens for tokens in variant.tokens_to_target if tokens is not None]
    cost = f"{sum(reached) / len(reached):,.0f}" if reached else "not reached"
    if reached and len(reached) < len(variant.tokens_to_target):
        cost += f" ({len(reached)} of {len(variant.tokens_to_target)} seeds)"
    return [
        variant.name,
        variant.accuracy.as_percent(),
        ", ".join(f"{100 * value:.1f}" for value in variant.per_seed),
        f"{variant.tokens:,.0f}",
        f"{variant.minutes:.1f}",
        cost,
        f"{100 * variant.tracked['waste']:.0f} %" if "waste" in variant.tracked else "-",
    ]


def markdown(result: Comparison, differences: Sequence[Difference]) -> str:
    """The comparison as a page for docs and issues."""
    lines = ["# " + " against ".join(variant.name for variant in result.variants), ""]
    lines += [pair.verdict + "\n" for pair in result.pairs]
    lines += _table(
        [heading.format(target=100 * result.target) for heading in HEADINGS], [cells(v) for v in result.variants]
    )
    labels = [label for label, *_ in result.variants[0].curve]
    rows = [
        [v.name, *(f"{100 * value:.1f} ({tokens:,.0f} tokens, {minutes:.1f} min)" for _, value, tokens, minutes in v.curve)]
        for v in result.variants
    ]
    lines += ["", "Held-out accuracy on the way, mean over seeds:", "", *_table(["variant", *labels], rows)]
    keys = [key for key in TRACKED if any(key in v.tracked for v in result.variants)]
    rows = [[TRACKED[key][1], *(f"{v.tracked.get(key, float('nan')):.4g}" for v in result.variants)] for key in keys]
    lines += ["", "Means over steps and seeds:", "", *_table(["", *(v.name for v in result.variants)], rows)]
    for pair in result.pairs:
        found = pair.statistics.these_runs
        lines += [
            "",
            f"{pair.candidate} minus {pair.baseline}: these runs on new tasks {100 * found.difference.value:+.1f} points "
            f"[{100 * found.difference.low:+.1f}, {100 * found.difference.high:+.1f}] (paired bootstrap), p = {found.p_value:.4f} "
            f"(permutation over tasks); better on {found.better} tasks, worse on {found.worse}, equal on {found.equal}; by seed "
            f"{', '.join(f'{100 * d:+.1f}' for d in pair.statistics.seed_differences)}, p = {pair.statistics.seed_p_value:.3f} "
            f"(permutation over seeds, which cannot be below {2 / 2 ** len(pair.statistics.seed_differences):.3f}).",
        ]
    rows = [[f"`{row.key}`", *row.values] for row in differences]
    if rows:
        lines += ["", "What differs between the configs:", "", *_table(["key", *(v.name for v in result.variants)], rows)]
    return "\n".join(lines) + "\n"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(values: Sequence[str]) -> str:
        return "| " + " | ".join(value.replace("|", "\\|").replace("\n", " ") for value in values) + " |"

    return [line(headings), line(["---"] * len(headings)), *map(line, rows)]
