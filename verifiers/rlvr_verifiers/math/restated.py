"""Whether an answer only repeats an expression of the question: `28z^{97}+7z^{96}` where that was to be factored.

Such an answer has the value of the gold and is no work. It is told by its form: the expression stands in the question, up to the
order of its terms and factors, and the gold is written otherwise.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from rlvr_verifiers.math.parse import parse
from rlvr_verifiers.math.spelling import clean
from rlvr_verifiers.math.tree import (
    Binding,
    Function,
    Negation,
    Node,
    Number,
    Power,
    Product,
    Quotient,
    Relation,
    Root,
    Sum,
    UnreadableError,
    rebuilt,
    walk,
)

MAX_QUESTION = 20_000
"""Characters that are looked at."""
_MAX_NODES = 2_000
_FORMULA = re.compile(r"\$\$?([^$]{1,2000})\$|\\\[((?:[^\\]|\\(?!\])){1,2000})\\\]|\\\(((?:[^\\]|\\(?!\))){1,2000})\\\)")
_CALCULATED = Sum | Product | Quotient | Power | Root | Function | Negation | Relation


def restates(answer: str, gold: str, question: str) -> bool:
    """Whether an answer that has the gold's value stands in the question and is not how the gold is written."""
    try:
        given, wanted = _ordered(parse(answer)), _ordered(parse(gold))
    except UnreadableError:  # several boxes, or no formula: nothing to compare with
        return False
    if isinstance(given, Number):  # 0.35 where a fraction is wanted
        return given.written != "integer" and clean(answer) != clean(gold) and clean(answer) in _texts(question)
    return given != wanted and isinstance(given, _CALCULATED) and given in _expressions(question)


@functools.lru_cache(maxsize=1024)
def _texts(question: str) -> frozenset[str]:
    return frozenset(map(clean, _formulas(question)))


@functools.lru_cache(maxsize=1024)
def _expressions(question: str) -> frozenset[Node]:
    """Every calculation in the formulas of the question, and every part of one."""
    found: set[Node] = set()
    for formula in _formulas(question):
        try:
            nodes = walk(_ordered(parse(formula)))
        except UnreadableError:
            continue
        found.update(node for node in nodes if isinstance(node, _CALCULATED))
        if len(found) > _MAX_NODES:
            break
    return frozenset(found)


def _formulas(question: str) -> Iterator[str]:
    for match in _FORMULA.finditer(question[:MAX_QUESTION]):
        yield match[1] or match[2] or match[3]


def _ordered(node: Node) -> Node:
    """The same expression whichever way its terms and factors are arranged, without the name that is given to it."""
    if isinstance(node, Binding):
        return _ordered(node.value)
    changed = rebuilt(node, _ordered)
    match changed:
        case Sum(terms):
            return Sum(tuple(sorted(terms, key=repr)))
        case Product(factors):
            return Product(tuple(sorted(factors, key=repr)))
        case Relation(sides, signs):
            return Relation(tuple(map(_ordered, sides)), signs)
        case _:
            return changed
