"""`rlvr compare`: what its words name, the runs it trains, and what it prints and writes."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlvr.comparison import TRACKED, Comparison, CurvePoint, Variant, VariantResult, compare_runs
from rlvr.errors import RlvrError
from rlvr.origins import origin, unlike
from rlvr.redaction import Redactor
from rlvr.report.page import write_report
from rlvr.report.tables import Difference
from rlvr.run_folder import write_atomically, writing
from rlvr.variants import (
    Recipe,
    check_differences,
    recipes_of_configs,
    recipes_of_words,
    train_variants,
    variants_of_folders,
)

WHAT_TO_GIVE = (
    "rlvr compare: give two or more configs, one config with --variant twice or more, or two or more finished run folders; "
    "not a mixture"
)


def compare_words(
    words: Sequence[str],
    console: Console,
    *,
    seeds: int,
    comparing: Sequence[str],
    output: Path | None,
    target: float | None,
    jobs: int,
    variants: Sequence[str] = (),
    baseline: str | None = None,
) -> Comparison:
    """Runs the comparison, prints it, and writes comparison.json, comparison.md and report.html to `output`."""
    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    paths = [Path(word) for word in words if word not in overrides]
    if any(path.is_dir() for path in paths):
        compared = _finished(paths, overrides, variants)
        where = output or Path()
    else:
        recipes = _recipes(paths, overrides, variants)
        where = output or Path("runs") / f"compare-{paths[0].stem if variants else '-vs-'.join(r.name for r in recipes)}"
        if baseline is not None and baseline not in (recipe.name for recipe in recipes):
            raise RlvrError(f"--baseline {baseline}: the variants are {', '.join(recipe.name for recipe in recipes)}")
        try:
            compared = train_variants(recipes, seeds, where, comparing, jobs=jobs)
        except KeyboardInterrupt:
            console.print("each run keeps what it saved; the same command goes on from there", markup=False)
            raise
    differences = check_differences({v.name: v.runs[0].config for v in compared}, comparing) if len(compared) > 1 else []
    result = compare_runs(compared, target, baseline)
    runs = [run for variant in compared for run in variant.runs]
    command = shlex.join(["rlvr", *Redactor().command_line(sys.argv[1:])])
    warnings = [*([left_out] if (left_out := result.left_out()) else []), *unlike(runs)]
    with writing("the comparison", where):
        where.mkdir(parents=True, exist_ok=True)
    write_atomically(where / "comparison.json", json.dumps(result.to_json(), indent=2) + "\n")
    write_atomically(where / "comparison.md", markdown(result, differences, f"`{command}`, {origin(runs)}.", warnings))
    show(console, result, differences)
    for sentence in warnings:
        console.print(sentence, markup=False, highlight=False, style="yellow")
    groups = [(variant.name, len(variant.runs)) for variant in compared]
    written = write_report([run.path for run in runs], where / "report.html", comparison=result, variants=groups)
    console.print(f"written to {where}: comparison.json, comparison.md, {written.path.name}", markup=False, soft_wrap=True)
    return result


def _finished(paths: Sequence[Path], overrides: Sequence[str], variants: Sequence[str]) -> list[Variant]:
    if len(paths) < 2 or not all(path.is_dir() for path in paths):
        raise RlvrError(WHAT_TO_GIVE)
    if overrides or variants:
        raise RlvrError(f"{[*overrides, *variants][0]}: finished runs cannot be changed; settings are for configs")
    return variants_of_folders(paths)


def _recipes(paths: Sequence[Path], overrides: Sequence[str], variants: Sequence[str]) -> list[Recipe]:
    if not variants:
        if len(paths) < 2:
            raise RlvrError(WHAT_TO_GIVE)
        return recipes_of_configs(paths, overrides)
    if len(paths) != 1 or len(variants) < 2:
        raise RlvrError("--variant: give one config and two or more variants of it; several configs are variants already")
    return recipes_of_words(paths[0], overrides, variants)


def show(console: Console, result: Comparison, differences: Sequence[Difference]) -> None:
    if differences:
        table = Table(title="what differs", title_justify="left")
        for column in ("key", *(variant.name for variant in result.variants)):
            table.add_column(Text(column))
        for row in differences:
            table.add_row(*map(Text, (row.key, *row.values)))  # as they are: [/INST] is no markup
        console.print(table)
    table = Table(title=f"held-out accuracy on {result.tasks} tasks", title_justify="left")
    for column in HEADINGS:
        table.add_column(column.format(target=100 * result.target))
    for variant in result.variants:
        table.add_row(*map(Text, cells(variant)))
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
    return [
        variant.name,
        variant.accuracy.as_percent(),
        ", ".join(f"{100 * value:.1f}" for value in variant.per_seed),
        f"{variant.tokens:,.0f}",
        f"{variant.minutes:.1f}",
        variant.cost,
        f"{100 * variant.tracked['waste']:.0f} %" if "waste" in variant.tracked else "-",
    ]


def markdown(result: Comparison, differences: Sequence[Difference], made: str, unlike_made: Sequence[str]) -> str:
    """The comparison as a page for docs and issues; `made` says by which command and on what machine."""
    lines = ["# " + " against ".join(variant.name for variant in result.variants), "", made, ""]
    lines += [pair.verdict + "\n" for pair in result.pairs]
    lines += [sentence + "\n" for sentence in unlike_made]
    lines += _table(
        [heading.format(target=100 * result.target) for heading in HEADINGS], [cells(v) for v in result.variants]
    )
    labels = [point.label for point in result.variants[0].curve]
    rows = [[v.name, *(_point(point, len(v.seeds)) for point in v.curve)] for v in result.variants]
    lines += ["", "Held-out accuracy on the way, mean over seeds (lowest to highest seed):", ""]
    lines += _table(["variant", *labels], rows)
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


def _point(point: CurvePoint, seeds: int) -> str:
    band = f" ({100 * point.lowest:.1f} to {100 * point.highest:.1f})" if seeds > 1 else ""
    return f"{100 * point.accuracy:.1f}{band}; {point.tokens:,.0f} tokens, {point.minutes:.1f} min"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(values: Sequence[str]) -> str:
        return "| " + " | ".join(value.replace("|", "\\|").replace("\n", " ") for value in values) + " |"

    return [line(headings), line(["---"] * len(headings)), *map(line, rows)]
