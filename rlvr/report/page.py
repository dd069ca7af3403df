"""The HTML file: what goes in, and how it is kept from running anything a model wrote.

Text of models, tasks and verifiers is either escaped by the template, or packed as base64 that the page's script sets as text. The
content security policy allows exactly two scripts, by their hashes, and no network at all.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlvr import __version__
from rlvr.alarms import first_alarms
from rlvr.comparison import Comparison
from rlvr.errors import RlvrError
from rlvr.report import narrative, tables
from rlvr.report.curves import curves, variant_numbers
from rlvr.report.rollouts import PackedRollouts, pack_rollouts
from rlvr.run_folder import write_atomically
from rlvr.run_record import RunRecord, alarm_window, read_runs

HERE = Path(__file__).parent
SCRIPTS = ("unpack.js", "theme.js", "curves.js", "tokens.js", "difference.js", "browser.js", "main.js")
LARGEST_FILE_MB = 25.0
COLOURS = 8  # of runs, in page.css
FIXED_BYTES = 600_000  # page, styles, scripts, tables; the library and the rollouts are counted as they are


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """What a report became."""

    path: Path
    bytes: int
    rollouts: PackedRollouts


def write_report(
    paths: Sequence[Path],
    output: Path,
    *,
    max_mb: float = LARGEST_FILE_MB,
    comparison: Comparison | None = None,
    variants: Sequence[tuple[str, int]] | None = None,
) -> Written:
    """Writes one HTML file about the runs; `variants` (name, number of runs) are drawn as one curve each, in the band of their seeds.

    Raises `RlvrError` where a folder is no run or the budget is too small.
    """
    runs = read_runs(paths)
    library = _pack(_plotly())
    budget = int(max_mb * 1e6) - len(library) - FIXED_BYTES
    if budget < 100_000:
        raise RlvrError(f"--max-mb {max_mb:g} leaves no room for rollouts; the page itself needs about 3 MB")
    rollouts = pack_rollouts(runs, budget)
    text = render(runs, rollouts, library, comparison, variants or [(run.name, 1) for run in runs])
    write_atomically(output, text)
    return Written(path=output, bytes=output.stat().st_size, rollouts=rollouts)


def render(
    runs: Sequence[RunRecord],
    rollouts: PackedRollouts,
    library: str,
    comparison: Comparison | None,
    variants: Sequence[tuple[str, int]],
) -> str:
    """The page's text; `library` is the packed chart library."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": narrative.percent, "thousands": lambda number: f"{number:,.0f}"}
    script = _script()
    scores, reasons = tables.score_tables(runs)
    return environment.get_template("page.html").render(
        title=_title(runs, comparison),
        policy=_content_policy(script, _plotly()),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        library=library,
        data=_pack(json.dumps(curves(runs, variants), allow_nan=False, separators=(",", ":"))),
        rollouts=rollouts,
        runs=[_overview(run) | {"colour": n % COLOURS} for run, n in zip(runs, variant_numbers(variants), strict=True)],
        comparison=comparison,
        scores=scores,
        reasons=reasons,
        differences=tables.config_differences([run.config for run in runs]) if len(runs) > 1 else [],
        version=__version__,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _title(runs: Sequence[RunRecord], comparison: Comparison | None) -> str:
    if comparison is not None:
        names = [variant.name for variant in comparison.variants]
        return " against ".join(names) if len(names) < 4 else f"{len(names)} variants"
    return runs[0].name if len(runs) == 1 else f"{len(runs)} runs"


def _overview(run: RunRecord) -> dict[str, Any]:
    steps = [record for stage in run.stages for record in run.steps(stage)]
    rl = run.steps("rl")
    held_out = [found for found in run.held_out if found.name == "heldout"]
    sampled = sum(record.get("groups/sampled", 0.0) for record in rl)
    wasted = sum(record.get("groups/sampled", 0.0) * record.get("groups/waste_fraction", 0.0) for record in rl)
    return {
        "name": run.name,
        "headline": narrative.headline(run),
        "phases": narrative.phases(run),
        "alarms": first_alarms(run.metrics, alarm_window(run)),
        "algorithm": ((run.config.get("rl") or {}).get("algorithm") or {}).get("preset", "-") if rl else "-",
        "model": (run.config.get("model") or {}).get("name", "-"),
        "seed": run.config.get("seed", "-"),
        "steps": len(steps),
        "tokens": sum(record.get("tokens/generated", 0.0) for record in rl),
        "minutes": sum(record["time/step_s"] for record in steps) / 60,
        "waste": wasted / sampled if sampled else None,
        "first": held_out[0] if held_out else None,
        "last": held_out[-1] if held_out else None,
        "best": max(held_out, key=lambda found: found.value) if held_out else None,
        "config": tables.config_rows(run.config),
        "provenance": tables.provenance_rows(run),
    }


def _script() -> str:
    """All of the page's own code as one strict function, so that nothing leaks into the global scope."""
    parts = [(HERE / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "\n})();\n"


def _plotly() -> str:
    """The chart library's code, as the Python package ships it."""
    from plotly.offline import get_plotlyjs

    # The browser reads CR LF as LF before it hashes an inline script.
    return get_plotlyjs().replace("\r\n", "\n")


def _pack(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)).decode()


def _content_policy(*scripts: str) -> str:
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts)
    # Styles may be inline: the chart library sets its own. A style cannot run code, and no address can be loaded.
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
