"""The goals of a plan: the maps that are stored whole, and what group norms need of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .graph import PlanNode
from .plan_maps import Storage

__all__ = ["FACTORS", "MAP", "MOMENTS", "Goal", "goals"]

MAP, MOMENTS, FACTORS = "map", "moments", "factors"


class Goal(NamedTuple):
    """The map of a node; or, of a group norm, the sums of the values of its input, and what follows from them."""

    kind: str
    node: int


def goals(nodes: Sequence[PlanNode], places: Storage) -> list[Goal]:
    """All goals, in an order in which each needs only those before it."""
    found: list[Goal] = []
    for number, node in enumerate(nodes):
        if node.kind == "norm":
            found += [Goal(MOMENTS, number), Goal(FACTORS, number)]
        if places.whole[places.buffer[number]]:
            found.append(Goal(MAP, number))
    return found
