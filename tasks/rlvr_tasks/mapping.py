"""Foreign columns onto the record, declared in a config: which column is the prompt, where the gold hides, what to teach.

The same options serve every file-like source. Text of a row is only ever inserted, never interpreted: templates look up
columns by name (dots step into structures) and know no attributes, calls or format specifications.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import string
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast

from pydantic import Field
from typing_extensions import TypedDict, Unpack

from rlvr_tasks.errors import TaskError, UnreadableGoldError
from rlvr_tasks.offers import tool_names
from rlvr_tasks.preferences import PREFERENCE_COLUMNS, is_preference
from rlvr_tasks.record import FIELDS, canonical_json, parse_json, task_from_record
from rlvr_tasks.tool_shapes import ToolShape, openai_tools
from rlvr_verifiers.tool_call import FORMATS, parse_calls
from rlvr_verifiers.types import Task

CONSTANTS = frozenset({"verifier", "verifier_args", "environment", "env_args", "data_source"})
"""Options that are fields of the record, the same for every row."""


class MappingOptions(TypedDict, total=False):
    """What a config may say about foreign columns."""

    columns: Annotated[
        dict[str, str | None],
        Field(description="record field: column that feeds it (dots step into structures); null ignores the row's own"),
    ]
    prompt_template: Annotated[str, Field(description='user message built from columns, e.g. "{question}\\nThink first."')]
    system: Annotated[str, Field(description="system message put before every prompt")]
    answer_pattern: Annotated[
        str, Field(description="regex with one group that finds the gold in the answer (last match), or `boxed`")
    ]
    verifier: Annotated[str, Field(description="verifier of every row")]
    verifier_args: Annotated[dict[str, Any], Field(description="its arguments")]
    environment: Annotated[
        str, Field(description="environment of every row, e.g. python; its tools are offered, in place of the row's own")
    ]
    env_args: Annotated[dict[str, Any], Field(description="its arguments, e.g. {timeout_s: 2}")]
    data_source: Annotated[
        str, Field(description="name that metrics are reported under; default: the row's own or the file's")
    ]
    demonstration: Annotated[
        str | dict[str, str],
        Field(description="column to teach in SFT, or {column, remove: regex, append: template with {gold}}"),
    ]
    unreadable_golds: Annotated[
        Literal["refuse", "drop"],
        Field(description="rows whose gold the verifier cannot read: refuse the file (default), or drop them"),
    ]
    filter: Annotated[dict[str, Any], Field(description="column: value, or list of values, that a row must have")]
    tools_shape: Annotated[ToolShape, Field(description="how the row writes its tools; default: openai (JSON Schema)")]
    answer_calls: Annotated[
        str, Field(description="the answer is a turn in this tool call format; its calls, or their absence, are the gold")
    ]


class MappingArguments(MappingOptions, total=False):
    """The same with what only a source knows."""

    default_data_source: str
    default_split: str


def column_mapping(**options: Unpack[MappingArguments]) -> Callable[[Mapping[str, Any], str], Task | None]:
    """The function from a row and its place (file:line) to a task, or to None where the filter leaves the row out.

    Raises TaskError at once for options that cannot work: an unknown field, a bad regex or template.
    """
    mapping = _checked(options)

    def convert(row: Mapping[str, Any], where: str) -> Task | None:
        try:
            if not mapping.keeps(row):
                return None
            record = mapping.record(row)
        except TaskError as error:
            raise type(error)(f"{where}: {error}") from None
        return task_from_record(record, where)

    return convert


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """A text with {column} holes; `{{` and `}}` are literal braces."""

    parts: tuple[tuple[str, str | None], ...]
    """Literal text, and the column that follows it."""

    @classmethod
    def parse(cls, text: str, option: str) -> Template:
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise TaskError(f"{option}: {error}; write literal braces twice, as in \\boxed{{{{}}}}") from None
        for _, name, spec, conversion in parsed:
            if name is not None and (not name or spec or conversion):
                raise TaskError(f"{option}: a hole names a column, as in {{question}}; write literal braces twice")
        return cls(parts=tuple((literal, name) for literal, name, _, _ in parsed))

    def fill(self, row: Mapping[str, Any]) -> str:
        return "".join(literal + ("" if name is None else _as_text(row, name)) for literal, name in self.parts)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Demonstration:
    column: str
    remove: re.Pattern[str] | None
    append: Template | None

    def text(self, row: Mapping[str, Any], gold: str) -> str:
        text = _as_text(row, self.column)
        if self.remove:
            text = self.remove.sub("", text)
        return text + (self.append.fill({**row, "gold": gold}) if self.append else "")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ColumnMapping:
    columns: Mapping[str, str | None]
    prompt_template: Template | None
    system: str | None
    gold: Callable[[str], str | None] | None
    constants: Mapping[str, Any]
    defaults: Mapping[str, str]
    demonstration: Demonstration | None
    filters: Mapping[str, Sequence[Any]]
    tools_shape: ToolShape
    answer_calls: str | None

    def keeps(self, row: Mapping[str, Any]) -> bool:
        return all(lookup(row, column) in wanted for column, wanted in self.filters.items())

    def record(self, row: Mapping[str, Any]) -> dict[str, Any]:
        used = {column for column in self.columns.values() if column} | self.columns.keys()
        record = {name: value for name, value in row.items() if name not in used}
        record |= {field: lookup(row, column) for field, column in self.columns.items() if column}
        if self.prompt_template or self.system:
            record["prompt"] = self._prompt(row, record.get("prompt"))
        if self.gold:
            record["answer"] = self._gold(record.get("answer"))
        if self.answer_calls:
            record["answer"] = calls_in(record.get("answer"), self.answer_calls)
        if self.tools_shape != "openai" and record.get("tools"):
            tools = record["tools"]
            record["tools"] = openai_tools(parse_json(tools) if isinstance(tools, str) else tools, self.tools_shape)
        record |= self.constants
        record |= {field: value for field, value in self.defaults.items() if not record.get(field)}
        if self.demonstration:
            taught = {"demonstration": self.demonstration.text(row, str(record.get("answer", "")))}
            record["info"] = {**_as_object(record.get("info")), **taught}
        return record

    def _prompt(self, row: Mapping[str, Any], prompt: Any) -> Any:
        if self.prompt_template:
            holes = row if prompt is None or "prompt" in row else {**row, "prompt": prompt}
            prompt = self.prompt_template.fill(holes)
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if not self.system or not isinstance(messages, list):
            if self.system and messages is None and is_preference(row):
                raise TaskError("system: the row has no prompt of its own to put it before; leave the option out")
            return messages
        first = cast("list[Any]", messages)[:1]
        if first and isinstance(first[0], Mapping) and cast("Mapping[str, Any]", first[0]).get("role") == "system":
            raise TaskError("system: the row already opens with a system message; leave the option out or filter such rows")
        return [{"role": "system", "content": self.system}, *cast("list[Any]", messages)]

    def _gold(self, answer: Any) -> str:
        if not isinstance(answer, str):
            raise TaskError(
                f"answer: answer_pattern needs text, found {type(answer).__name__}; map the column that holds it"
            )
        gold = self.gold(answer) if self.gold else None
        if not gold:
            raise UnreadableGoldError(
                f"answer: answer_pattern finds nothing in ...{answer[-60:]!r}; correct the pattern or drop the row"
            )
        return gold


def lookup(row: Mapping[str, Any], path: str) -> Any:
    """The value of a column; dots step into objects, list positions and JSON strings. Raises TaskError where it is absent."""
    if path in row:
        return row[path]
    value: Any = row
    for step in path.split("."):
        value = _step(value, step)
        if value is _ABSENT:
            close = difflib.get_close_matches(path, list(row), 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TaskError(f"column {path!r} is missing; the row has {', '.join(map(str, row))}{hint}")
    return value


_ABSENT = object()


def _step(value: Any, step: str) -> Any:
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            value = parse_json(value)
        except TaskError:
            return _ABSENT  # text that only looks like JSON
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(step, _ABSENT)
    if isinstance(value, list) and step.isdecimal() and int(step) < len(items := cast("list[Any]", value)):
        return items[int(step)]
    return _ABSENT


_BOX = re.compile(r"\\f?box(?:ed)?\s*")
_BARE = re.compile(r"[^\s$.,;]+")


def last_boxed(text: str) -> str | None:
    r"""Content of the last `\boxed{...}` (or `\fbox{...}`, or `\boxed 3`), braces matched, in linear time; None where it is
    never closed or there is none."""
    boxes = deque(_BOX.finditer(text), maxlen=1)
    if not boxes:
        return None
    start = boxes[0].end()
    if not text.startswith("{", start):
        bare = _BARE.match(text, start)
        return bare.group() if bare else None
    depth = 0
    for position in range(start, len(text)):
        if text[position] in "{}" and text[position - 1] != "\\":
            depth += 1 if text[position] == "{" else -1
            if depth == 0:
                return text[start + 1 : position].strip()
    return None


def _checked(options: MappingArguments) -> ColumnMapping:
    columns = options.get("columns", {})
    known = (*FIELDS, *PREFERENCE_COLUMNS)
    for field in columns:
        if field not in known:
            close = difflib.get_close_matches(field, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; fields are {', '.join(known)}"
            raise TaskError(f"columns: {field!r} is not a field of the record (write field: column){hint}")
    template = options.get("prompt_template")
    pattern = options.get("answer_pattern")
    constants = {name: value for name, value in options.items() if name in CONSTANTS}
    if environment := options.get("environment"):
        tool_names(environment, options.get("env_args", {}))  # so that a wrong name is told once, and not of every row
        constants["tools"] = None
    defaults = {"data_source": options.get("default_data_source", ""), "split": options.get("default_split", "train")}
    return ColumnMapping(
        columns=columns,
        prompt_template=Template.parse(template, "prompt_template") if template else None,
        system=options.get("system"),
        gold=_gold_finder(pattern) if pattern else None,
        constants=constants,
        defaults=defaults,
        demonstration=_demonstration(options["demonstration"]) if "demonstration" in options else None,
        filters={column: _wanted(value) for column, value in options.get("filter", {}).items()},
        tools_shape=options.get("tools_shape", "openai"),
        answer_calls=_call_format(options.get("answer_calls")),
    )


def calls_in(answer: Any, format: str) -> str:  # noqa: A002
    """The gold of `tool_call` that an example turn stands for. Raises UnreadableGoldError where its calls cannot be read."""
    if not isinstance(answer, str):
        raise TaskError(f"answer: answer_calls needs text, found {type(answer).__name__}; map the column that holds it")
    parsed = parse_calls(answer, format)
    if parsed.failures:
        raise UnreadableGoldError(f"answer: {parsed.failures[0].message}; correct or drop the row")
    if not parsed.calls and not parsed.content:
        raise UnreadableGoldError("answer: neither a call nor a reply; correct or drop the row")
    return canonical_json([{"name": call.name, "arguments": call.arguments} for call in parsed.calls])


def _call_format(name: str | None) -> str | None:
    if name is not None and name not in FORMATS:
        raise TaskError(f"answer_calls: no tool call format {name!r}; known: {', '.join(FORMATS)}")
    return name


def _wanted(value: Any) -> Sequence[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else (value,)


def _gold_finder(pattern: str) -> Callable[[str], str | None]:
    if pattern == "boxed":
        return last_boxed
    compiled = _regex(pattern, "answer_pattern")
    if compiled.groups != 1:
        raise TaskError(f"answer_pattern: {pattern!r} has {compiled.groups} groups; put one ( ) around the answer itself")

    def find(text: str) -> str | None:
        found: list[str] = compiled.findall(text)
        return found[-1].strip() if found else None

    return find


def _demonstration(option: str | Mapping[str, str]) -> Demonstration:
    parts = {"column": option} if isinstance(option, str) else dict(option)
    if unknown := parts.keys() - {"column", "remove", "append"}:
        raise TaskError(f"demonstration: unknown key {min(unknown)!r}; it takes column, remove and append")
    if "column" not in parts:
        raise TaskError("demonstration: `column` is missing; name the column that holds the text to teach")
    return Demonstration(
        column=parts["column"],
        remove=_regex(parts["remove"], "demonstration.remove") if "remove" in parts else None,
        append=Template.parse(parts["append"], "demonstration.append") if "append" in parts else None,
    )


def _regex(pattern: str, option: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise TaskError(f"{option}: {pattern!r} is not a regular expression ({error})") from None


def _as_text(row: Mapping[str, Any], name: str) -> str:
    value = lookup(row, name)
    if value is None:
        raise TaskError(f"column {name!r} is empty; filter such rows out or leave the column out of the template")
    return value if isinstance(value, str) else canonical_json(value)


def _as_object(value: Any) -> Mapping[str, Any]:
    if value is None or value == "":
        return {}
    decoded = parse_json(value) if isinstance(value, str) else value
    if not isinstance(decoded, Mapping):
        raise TaskError("info: expected a JSON object; write `info: null` under columns to ignore the row's own")
    return cast("Mapping[str, Any]", decoded)
