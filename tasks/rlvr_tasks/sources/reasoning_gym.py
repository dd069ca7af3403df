"""Procedural tasks of the package reasoning-gym, judged by our own verifiers.

Several of its scorers execute Python found in the answer, pay for empty or wrong text, or are satisfied by a substring. So none
of them is called, and only data sets with one right answer in plain text are offered; the others are refused with the reason.
Its generator i of seed s is its generator i - 1 of seed s + 1; here every (seed, index) has a generator seed of its own, and a
hash of the question decides between train and eval, so that the two sides share no question whatever the seeds.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from rlvr_tasks.answer_forms import exact_integer, exact_text
from rlvr_tasks.errors import TaskError
from rlvr_tasks.mapping import Template
from rlvr_tasks.procedural import ProceduralTasks, Side, side_of
from rlvr_tasks.record import canonical_json
from rlvr_verifiers.reasoning_gym import SCORED
from rlvr_verifiers.types import Message, Task

TRIES = 200
"""Draws for a question of the wanted side; all fail with probability 1e-19 on the eval side, where questions vary."""
GENERATOR_SEEDS = 2**31 - 1
CACHED = 10_000
"""Tasks kept once made: some generators take a tenth of a second."""

DEFAULT_TEMPLATE = '{question}\nEnd with a line "Answer: " and the answer.'
BOXED_TEMPLATE = "{question}\nPut the answer in \\boxed{{}}."

INTEGER = frozenset(
    {
        "aiw", "basic_arithmetic", "binary_alternation", "chain_sum", "circuit_logic", "count_bits", "count_primes",
        "gcd", "gsm_symbolic", "largest_island", "lcm", "leg_counting", "letter_counting", "maze",
        "number_sequence", "products", "rectangle_count", "rotten_oranges", "self_reference", "simple_equations",
        "simple_geometry",
    }
)  # fmt: skip
"""The answer is one integer."""
TEXT = frozenset(
    {
        "base_conversion", "caesar_cipher", "calendar_arithmetic", "color_cube_rotation", "course_schedule",
        "family_relationships", "isomorphic_strings", "mahjong_puzzle", "needle_haystack", "ransom_note", "spell_backward",
        "string_manipulation", "string_splitting", "string_synthesis", "syllogism", "zebra_puzzles",
    }
)  # fmt: skip
"""The answer is one short text; case does not count."""
OFFERED = INTEGER | TEXT | SCORED
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour"), "it has no gold answer"),
    **dict.fromkeys(
        ("countdown", "puzzle24", "polynomial_multiplication", "simple_integration", "intermediate_integration", "n_queens"),
        "many answers are right, and its own scorer executes the answer as Python",
    ),
    **dict.fromkeys(("binary_matrix", "spiral_matrix", "string_insertion"), "its own scorer executes the answer as Python"),
    "fraction_simplification": "the fraction in the question is equal to the answer, so an echo would be right",
    "game_of_life_halting": "its answers do not depend on the text that its own scorer is given; half of all guesses are right",
    "acre": "its questions come from a table of fixed length, not from a generator",
    **dict.fromkeys(
        ("decimal_chain_sum", "decimal_arithmetic", "dice"),
        "its answer is no integer, and a verifier that takes decimals or fractions would accept the question back as the answer",
    ),
    "coin_flip": "its answer is a rounded decimal, to which exact comparison is unfair",
    "bf": "its generator writes to standard output",
    **dict.fromkeys(
        ("number_sorting", "bitwise_arithmetic", "codeio"), "its own scorer, or what it calls, executes text as Python"
    ),
    **dict.fromkeys(("polynomial_equations", "knights_knaves", "sokoban"), "its own scorer accepts what is no answer"),
    **dict.fromkeys(("shortest_path", "game_of_life"), "the same answer is right for many of its questions"),
    **dict.fromkeys(("arc_agi", "rearc"), "its entries are no plain JSON, which its own scorer needs back"),
    "knight_swap": "a question takes its generator seconds",
    "composite": "it mixes other data sets; list those as sources of their own",
}
OTHERWISE = "more than one answer can be right, or its answer is not one plain line"


def reasoning_gym(
    name: Annotated[str, Field(description="one of its data sets, e.g. chain_sum, gcd, gsm_symbolic, syllogism")],
    size: Annotated[int, Field(ge=1, description="number of tasks")] = 1000,
    split: Annotated[Side, Field(description="train or eval; no question is in both, whatever the seeds")] = "train",
    seed: Annotated[int, Field(description="draws other questions of the same side")] = 0,
    args: Annotated[
        dict[str, Any] | None, Field(description="the data set's own configuration, e.g. {min_terms: 2}")
    ] = None,
    boxed: Annotated[bool, Field(description="answers as \\boxed{57} instead of `Answer: 57`")] = False,
    template: Annotated[
        str | None, Field(description="the prompt around {question}; default asks for the answer form")
    ] = None,
    system: Annotated[str | None, Field(description="system message put before every prompt")] = None,
) -> Sequence[Task]:
    """Procedural tasks of reasoning-gym that our own verifiers can judge (pip install 'rlvr[gym]')."""
    item = _generator(name, args or {})
    shape = Template.parse(template or (BOXED_TEMPLATE if boxed else DEFAULT_TEMPLATE), "template")
    version = importlib.metadata.version("reasoning-gym")
    own = name in SCORED
    if own and boxed:
        raise TaskError(f"reasoning_gym: the answers of {name!r} stand behind `Answer: `; leave `boxed` out")
    exact_args = exact_integer(boxed=boxed) if name in INTEGER else exact_text(boxed=boxed, ignore_case=True)

    @functools.lru_cache(CACHED)
    def make(index: int) -> Task:
        entry = _drawn(item, name, split, seed, index)
        question, answer = entry["question"].strip(), entry["answer"]
        user: Message = {"role": "user", "content": shape.fill({"question": question})}
        return Task(
            id=f"{name}-{split}-{seed}-{index}-{_hash(question)[:8]}",
            prompt=({"role": "system", "content": system}, user) if system else (user,),
            verifier="reasoning_gym" if own else "exact",
            verifier_args={} if own else exact_args,
            answer=canonical_json({"name": name, "entry": entry}) if own else answer.strip(),
            data_source=f"reasoning_gym/{name}",
            ability="reasoning",
            split=split,
            info={"generator": f"reasoning-gym {version}", "difficulty": entry["metadata"].get("difficulty")},
        )

    return ProceduralTasks(make, range(size))


Item = Mapping[str, Any]
"""question, answer, metadata"""


def _drawn(item: Callable[[int], Item], name: str, split: Side, seed: int, index: int) -> Item:
    """The first question on the wanted side among the draws that belong to this index."""
    for attempt in range(TRIES):
        drawn = item(int(_hash(f"{name}/{seed}/{index}/{attempt}")[:8], 16) % GENERATOR_SEEDS)
        if side_of(_hash(drawn["question"].strip())) == split:
            return drawn
    raise TaskError(f"reasoning_gym: {name!r} has too few different questions for a {split} side; widen its `args`")


def _generator(name: str, config: Mapping[str, Any]) -> Callable[[int], Item]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a dependency of it compares with `is`, which Python 3.11 warns of once
            gym: Any = importlib.import_module("reasoning_gym")
    except ImportError as error:
        raise TaskError(f"reasoning_gym: the package cannot be imported ({error}); pip install 'rlvr[gym]'") from error
    if name not in OFFERED:
        raise TaskError(_refusal(name, gym.factory.DATASETS))
    for key in ("seed", "size"):
        if key in config:
            raise TaskError(f"reasoning_gym: {key!r} stands beside `args`, not in it")
    try:
        gym.create_dataset(name, seed=0, size=1, **config)
    except (TypeError, ValueError, AssertionError) as error:
        raise TaskError(f"reasoning_gym: {name!r} refuses its args ({error}); see its configuration class") from error

    def item(generator_seed: int) -> Item:
        # A data set of one: some of them make a table of `size` entries, and index 0 is the only one all share.
        entry: Mapping[str, Any] = gym.create_dataset(name, seed=generator_seed, size=1, **config)[0]
        metadata: dict[str, Any] = json.loads(json.dumps(entry.get("metadata") or {}, default=str))
        return {"question": str(entry["question"]), "answer": str(entry["answer"]), "metadata": metadata}

    return item


def _refusal(name: str, known: Mapping[str, Any]) -> str:
    if name not in known:
        close = difflib.get_close_matches(name, OFFERED, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"reasoning_gym: no data set {name!r}; {hint}offered: {', '.join(sorted(OFFERED))}"
    reason = REFUSED.get(name, OTHERWISE)
    return f"reasoning_gym: {name!r} is not offered: {reason}; offered: {', '.join(sorted(OFFERED))}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
