"""From a YAML file and command-line overrides to one validated `Config`, with every mistake reported at once."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from rlvr.algorithms import ALGORITHMS
from rlvr.config.schema import AlgorithmConfig, Config, PreferenceAlgorithmConfig
from rlvr.errors import RlvrError
from rlvr.preference.presets import PRESETS


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Reads `path`, applies `key=value` overrides on top, fills in the algorithm's preset and validates.

    Raises `RlvrError` with one line per mistake: where it is, what is wrong, and the nearest known key.
    """
    data = _read_yaml(path)
    for override in overrides:
        _apply_override(data, override)
    return parse_config(data, where=str(path))


def parse_config(data: Mapping[str, Any], where: str = "config") -> Config:
    """Validates an already read mapping; see `load_config`."""
    try:
        return Config.model_validate(_with_preset(data))
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors()]
        noun = "mistake" if len(lines) == 1 else "mistakes"
        raise RlvrError(f"{where}: {len(lines)} {noun}\n" + "\n".join(f"  {line}" for line in lines)) from None


def resolved(config: Config) -> dict[str, Any]:
    """The whole config as plain data, every default filled in; `parse_config` reads it back to an equal value."""
    return config.model_dump(mode="json")


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-6` as a number, as YAML 1.2 and every user expect (PyYAML follows YAML 1.1: a string)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*)(?:\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RlvrError(f"{path}: no such config file; the recipes that ship with rlvr are in configs/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RlvrError(f"{path}: cannot be read: {error}") from None
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader subclass
    except yaml.YAMLError as error:
        raise RlvrError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise RlvrError(f"{path}: a config is a mapping of sections, this file holds {type(data).__name__}")
    return data


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RlvrError(f"{override!r}: an override is key=value, for example rl.steps=50")
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader subclass
    except yaml.YAMLError:
        value = text
    node: Any = data
    parts = key.split(".")
    for i, part in enumerate(parts[:-1]):
        here = ".".join(parts[: i + 1])
        if isinstance(node, list):
            node = _list_item(node, part, override)
            continue
        if part == "algorithm" and isinstance(node.get(part), str):
            node[part] = {"preset": node[part]}
        node = node.setdefault(part, {})
        if node is None or not isinstance(node, dict | list):
            raise RlvrError(f"{override!r}: {here} is a plain value in the config, it has no keys below it")
    if isinstance(node, list):
        _list_item(node, parts[-1], override)
        node[int(parts[-1])] = value
    else:
        node[parts[-1]] = value


def _list_item(items: list[Any], part: str, override: str) -> Any:
    if not part.isdigit() or int(part) >= len(items):
        raise RlvrError(f"{override!r}: {part} is not an index of that list of {len(items)}, indices start at 0")
    return items[int(part)]


def _with_preset(data: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the pieces of each stage's algorithm preset under the ones the user wrote."""
    result = dict(data)
    for stage, presets, default in (
        ("rl", ALGORITHMS, AlgorithmConfig().preset),
        ("preference", PRESETS, PreferenceAlgorithmConfig().preset),
    ):
        section = result.get(stage)
        if not isinstance(section, Mapping):
            continue
        algorithm = section.get("algorithm", default)
        if isinstance(algorithm, str):
            algorithm = {"preset": algorithm}
        if not isinstance(algorithm, Mapping):
            continue
        preset = algorithm.get("preset", default)
        if preset not in presets:
            near = _nearest(str(preset), presets)
            raise RlvrError(f"{stage}.algorithm: unknown preset {preset!r}{near}; known: {', '.join(sorted(presets))}")
        result[stage] = {**section, "algorithm": {**presets[preset], "preset": preset, **algorithm}}
    return result


def _explain(detail: Mapping[str, Any]) -> str:
    location = tuple(detail["loc"])
    where = ".".join(str(part) for part in location) or "config"
    if detail["type"] == "extra_forbidden":
        known = _fields_at(location[:-1])
        return f"{where}: unknown key{_nearest(str(location[-1]), known)}"
    if detail["type"] == "missing":
        return f"{where}: missing, this key is required"
    message = str(detail["msg"]).removeprefix("Value error, ")
    shown = "" if isinstance(detail["input"], dict) else f" (got {detail['input']!r:.80})"
    return f"{where}: {message}{shown}"


def _nearest(word: str, known: typing.Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f", did you mean `{matches[0]}`?" if matches else ""


def _fields_at(location: Sequence[str | int]) -> list[str]:
    """Names of the fields of the section that `location` leads to."""
    model: type[BaseModel] | None = Config
    for part in location:
        if isinstance(part, int) or model is None:
            continue
        field = model.model_fields.get(part)
        model = _section_of(field.annotation) if field else None
    return list(model.model_fields) if model else []


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple):
        for argument in typing.get_args(annotation):
            section = _section_of(argument)
            if section is not None:
                return section
    return None
