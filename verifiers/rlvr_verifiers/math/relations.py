"""Equations and inequalities: which side is the answer, and when two say the same."""

from __future__ import annotations

from rlvr_verifiers.math.build import operands
from rlvr_verifiers.math.tiers import Tiers
from rlvr_verifiers.math.tree import (
    Negation,
    Node,
    Relation,
    Sign,
    Sum,
    UnreadableError,
    has_letter,
    walk,
)

_STRICT: dict[Sign, Sign] = {"<": "<", ">": "<", "<=": "<=", ">=": "<=", "=": "=", "!=": "!="}


def inequality(node: Node) -> bool:
    """Whether the node, or something in the list that it is, is an inequality."""
    return any(isinstance(part, Relation) and any(sign != "=" for sign in part.signs) for part in walk(node))


def chain_sides(chain: Relation) -> tuple[Node, ...]:
    """The sides of a chain of equalities that claim a value: those without letters, the last one among them; else none."""
    if has_letter(chain.sides[-1]):
        return ()
    return tuple(side for side in chain.sides if not has_letter(side))


def is_calculation(relation: Relation) -> bool:
    """`6 * 7 = 42`: a chain without letters, whose answer is its last side."""
    return set(relation.signs) == {"="} and not any(has_letter(side) for side in relation.sides)


def same_relation(gold: Relation, answer: Relation, tiers: Tiers) -> bool:
    """2x + 3y = 6 and 4x = 12 - 6y say the same: the differences of their sides are proportional."""
    if len(gold.signs) != len(answer.signs):
        return False
    if len(gold.sides) > 2:
        return any(_same_chain(gold, turned, tiers) for turned in (answer, _turned(answer)))
    sign, other = gold.signs[0], answer.signs[0]
    if _STRICT[sign] != _STRICT[other]:
        return False
    try:
        left, right = _difference(gold), _difference(answer)
    except UnreadableError:  # sides that are sets or texts
        return gold.signs == answer.signs and gold.sides == answer.sides
    return tiers.proportional(left, right, positive=sign not in ("=", "!="))


def _same_chain(gold: Relation, answer: Relation, tiers: Tiers) -> bool:
    return gold.signs == answer.signs and all(
        tiers.equal(*operands(one, two)) for one, two in zip(gold.sides, answer.sides, strict=True)
    )


def _turned(relation: Relation) -> Relation:
    turn: dict[Sign, Sign] = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
    return Relation(relation.sides[::-1], tuple(turn[sign] for sign in relation.signs[::-1]))


def _difference(relation: Relation) -> Node:
    """Larger side minus smaller side; of an equation left minus right."""
    left, right = operands(*relation.sides)
    larger, smaller = (right, left) if relation.signs[0] in ("<", "<=") else (left, right)
    return Sum((larger, Negation(smaller)))
