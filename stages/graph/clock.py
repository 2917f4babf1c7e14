"""Where a chain of nodes stands, and how long the rest of it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

__all__ = ["Clock"]


class Clock:
    """Started when the first node is, with the costs of all: seconds of any machine, 0 for unknown."""

    def __init__(self, costs: Sequence[float], now: Callable[[], float] = time.monotonic) -> None:
        self.costs, self.now, self.began = list(costs), now, now()

    def place(self, done: int) -> str:
        """ " (node 4 of 8, about 0:20:00 left)" when `done` nodes are; "" for a single node.

        The time left follows from the time of the nodes that are done, so that the first of them has none.
        """
        if len(self.costs) < 2:
            return ""
        before, left = sum(self.costs[:done]), sum(self.costs[done:])
        known = before > 0 and all(self.costs)
        seconds = round((self.now() - self.began) / before * left) if known else 0
        rest = f", about {timedelta(seconds=seconds)} left" if known else ""
        return f" (node {done + 1} of {len(self.costs)}{rest})"
