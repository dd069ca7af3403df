"""What is compared with what: variants from configs or from run folders, their differences, and the training of what is missing."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rlvr.comparison import Variant
from rlvr.config.load import load_config, parse_config, resolved
from rlvr.errors import RlvrError
from rlvr.redaction import Redactor
from rlvr.report.tables import Difference, config_differences
from rlvr.run_folder import CONFIG, RUN_NAME, SUMMARY
from rlvr.run_name import check_same_run
from rlvr.run_record import RunRecord, read_run, read_runs

NEVER_MATTERS = ("run_name", "output_dir", "seed", "checkpoint", "tracking", "alarms", "verification.workers")
"""Settings in which variants may differ without being compared."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A variant before it is trained."""

    name: str
    config: Path
    overrides: tuple[str, ...]
    """`key=value`, the later ones win."""


def recipes_of_configs(configs: Sequence[Path], overrides: Sequence[str]) -> list[Recipe]:
    """One variant a config, named after its file."""
    names = _distinct([path.stem for path in configs])
    return [Recipe(name=name, config=path, overrides=tuple(overrides)) for name, path in zip(names, configs, strict=True)]


def recipes_of_words(config: Path, overrides: Sequence[str], variants: Sequence[str]) -> list[Recipe]:
    """Variants of one config, each given as `NAME [KEY=VALUE ...]` (shell words). Raises `RlvrError` where one is unclear."""
    recipes: list[Recipe] = []
    for text in variants:
        try:
            name, *own = shlex.split(text) or [""]
        except ValueError as error:
            raise RlvrError(f"--variant {text!r}: {error}; give NAME [KEY=VALUE ...]") from None
        if RUN_NAME.fullmatch(name) is None or "=" in name:
            raise RlvrError(
                f"--variant {text!r}: {name!r} is no name for it; begin with one of letters, digits and . _ + @ -"
            )
        if odd := [word for word in own if "=" not in word]:
            raise RlvrError(f"--variant {text!r}: {odd[0]!r} is not KEY=VALUE; after the name come settings only")
        if name in (recipe.name for recipe in recipes):
            raise RlvrError(f"--variant {text!r}: there is a variant {name} already; give each a name of its own")
        recipes.append(Recipe(name=name, config=config, overrides=(*overrides, *own)))
    return recipes


def check_differences(configs: Mapping[str, Mapping[str, Any]], comparing: Sequence[str]) -> list[Difference]:
    """What differs between variants. Raises `RlvrError` where it is more than the parts being compared, or nothing."""
    found = _differences(list(configs.values()))
    seen: dict[tuple[str, ...], str] = {}
    for number, name in enumerate(configs):
        values = tuple(row.values[number] for row in found)
        if values in seen:
            raise RlvrError(f"{seen[values]} and {name} are the same config: there is nothing to compare between them")
        seen[values] = name
    if strangers := [row for row in found if not _within(row.key, comparing)]:
        shown = "; ".join(f"{row.key}: {' / '.join(row.values)}" for row in strangers[:5])
        flags = " ".join(f"--comparing {key}" for key in (*comparing, *(row.key for row in strangers[:5])))
        raise RlvrError(
            f"the variants differ in more than {', '.join(comparing)}, so a difference in accuracy would not say why: {shown}"
            f"{' ...' if len(strangers) > 5 else ''}. Make them equal, or say that this is compared, too: {flags}"
        )
    return found


def variants_of_folders(paths: Sequence[Path]) -> list[Variant]:
    """Finished runs, grouped by config but for the seed; named after what the names of their folders share."""
    groups: list[list[RunRecord]] = []
    for run in read_runs(paths):
        same = next((g for g in groups if not _differences([g[0].config, run.config])), None)
        if same is None:
            groups.append([run])
        else:
            same.append(run)
    names = _distinct([_shared_name([run.name for run in group]) for group in groups])
    by_seed = [sorted(group, key=lambda run: int(run.config.get("seed", 0))) for group in groups]
    return [Variant(name=name, runs=tuple(group)) for name, group in zip(names, by_seed, strict=True)]


def train_variants(
    recipes: Sequence[Recipe], seeds: int, output: Path, comparing: Sequence[str], *, jobs: int = 1
) -> list[Variant]:
    """Trains every recipe with every seed into `output`, goes on with what was cut off, and keeps what is finished.

    Seeds are the config's own and the ones after it. Raises `RlvrError` where the configs are not comparable or a run fails.
    """
    loaded = {recipe.name: load_config(recipe.config, recipe.overrides) for recipe in recipes}
    check_differences({name: resolved(config) for name, config in loaded.items()}, comparing)
    if lacking := [name for name, config in loaded.items() if config.eval is None]:
        raise RlvrError(f"{', '.join(lacking)}: a comparison needs an eval section, or nothing says which policy is better")
    first = {config.seed for config in loaded.values()}
    if len(first) > 1:
        raise RlvrError(f"the configs start from different seeds ({sorted(first)}): give seed=0 on the command line")
    numbers = range(min(first), min(first) + seeds)
    # One seed of every variant after the other, so that an interrupted comparison is a fair one.
    plan = [(recipe, seed) for seed in numbers for recipe in recipes]
    with ThreadPoolExecutor(max_workers=jobs) as workers:
        running = [workers.submit(_train, recipe, output, seed) for recipe, seed in plan]
        try:
            for run in running:
                run.result()
        except BaseException:
            workers.shutdown(wait=True, cancel_futures=True)
            raise
    return [
        Variant(name=recipe.name, runs=tuple(read_run(output / f"{recipe.name}-{seed}") for seed in numbers))
        for recipe in recipes
    ]


def _train(recipe: Recipe, output: Path, seed: int) -> None:
    """One run in a process of its own: an engine cannot be started twice in one."""
    name = f"{recipe.name}-{seed}"
    settings = [*recipe.overrides, f"seed={seed}", f"output_dir={output}", f"run_name={name}"]
    folder = output / name
    started = (folder / CONFIG).is_file()
    if started:
        check_same_run(folder, Redactor().value(resolved(load_config(recipe.config, settings))))
    if started and (folder / SUMMARY).is_file():
        return
    command = [sys.executable, "-m", "rlvr.cli", "train", str(recipe.config), *settings]
    # Waited for in a thread, so that Ctrl-C, which reaches the run as well, leaves it the time to save its state.
    code = subprocess.Popen([*command, *(["--resume"] if started else [])], env=os.environ).wait()  # noqa: S603 - ours
    if code == 130:
        raise KeyboardInterrupt
    if code != 0:
        raise RlvrError(f"{folder}: training failed, see above; the same command goes on where it stopped")


def _differences(configs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    return [row for row in config_differences([_as_read_today(c) for c in configs]) if not _within(row.key, NEVER_MATTERS)]


def _as_read_today(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the defaults of settings that did not exist when the run was made; as it is where this version cannot read it."""
    try:
        return resolved(parse_config(config))
    except RlvrError:
        return config


def _within(key: str, parts: Sequence[str]) -> bool:
    return any(key == part or key.startswith(f"{part}.") for part in parts)


def _shared_name(names: Sequence[str]) -> str:
    """`grpo` of grpo-0, grpo-1, grpo-2; the name itself of a single run."""
    length = next((i for i, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1), min(map(len, names)))
    return (names[0][:length].rstrip("-_. /") if len(names) > 1 else "") or names[0]


def _distinct(names: Sequence[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name}-{names[: i + 1].count(name)}" for i, name in enumerate(names)]
