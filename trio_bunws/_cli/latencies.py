"""How long answers took: counted in buckets, so that a long `bench` needs no more memory than a short one.

Pure: no clock and no I/O.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

FINEST: Final = 1e-6
"""Seconds; shorter times count as this."""
STEP: Final = math.log(1.01)
"""Each bucket ends 1 % above where it begins."""


class Latencies:
    """Times in seconds, each known to 1 %; the greatest is exact."""

    def __init__(self) -> None:
        self._buckets: Final[Counter[int]] = Counter()
        self.count = 0
        self.greatest = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._buckets[math.ceil(math.log(max(seconds, FINEST) / FINEST) / STEP)] += 1
        self.count += 1
        self.greatest = max(self.greatest, seconds)

    def percentile(self, percent: float) -> float:
        """Return the time within which so many percent were; 0.0 if there is none at all."""
        wanted = self.count * percent / 100
        found = 0
        for bucket in sorted(self._buckets):
            found += self._buckets[bucket]
            if found >= wanted:
                return min(FINEST * math.exp(bucket * STEP), self.greatest)
        return self.greatest
