"""Progress of a chain of nodes, and an estimate of the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

__all__ = ["Clock"]


class Clock:
    """Starts with the first node. costs  relative durations of all nodes, 0 for unknown."""

    def __init__(self, costs: Sequence[float], now: Callable[[], float] = time.monotonic) -> None:
        self.costs, self.now, self.began = list(costs), now, now()

    def place(self, done: int) -> str:
        """ " (stage 4 of 8, about 0:20:00 left)" after `done` nodes; "" for a single one.

        The time left is extrapolated from the finished nodes, so the first one has none.
        """
        if len(self.costs) < 2:
            return ""
        before, left = sum(self.costs[:done]), sum(self.costs[done:])
        known = before > 0 and all(self.costs)
        seconds = round((self.now() - self.began) / before * left) if known else 0
        rest = f", about {timedelta(seconds=seconds)} left" if known else ""
        return f" (stage {done + 1} of {len(self.costs)}{rest})"
