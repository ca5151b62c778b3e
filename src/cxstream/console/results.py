"""Results of queries, for as long as the read model does not change; figures a while longer.

A query over a large read model takes seconds. Beside a follower, which commits each second, its result would be of no use to the
next page. So a page may get the last result at once: it says how old that is, and the next one is computed meanwhile.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

LARGE = 1_000_000
"""Touchpoints from which on pages may show older results."""

# Results of faster queries are always those of the last commit, s.
_SLOW_SECONDS = 0.25
# So many times as long as a query takes, its result is left alone.
_PAUSE = 4


class Kept(NamedTuple):
    """A result.

    Attributes:
        state: of the read model.
        value: what was found.
        took: seconds.
        made: by the monotonic clock, seconds.
        is_figures: it names no customers, who may have been erased since.
    """

    state: Hashable
    value: Any
    took: float
    made: float
    is_figures: bool = False

    @property
    def age(self) -> float:
        """Seconds since the query ended."""
        return time.monotonic() - self.made


@dataclass
class Served:
    """What a page has got.

    Attributes:
        age: of its oldest result that is not of the last commit, in seconds; 0 if there is none.
        has_failed: computing one of these results again did not succeed.
    """

    age: float = 0.0
    has_failed: bool = False

    @property
    def since(self) -> datetime | None:
        """The time of that result, UTC; None if there is none."""
        return datetime.fromtimestamp(time.time() - self.age, UTC).replace(tzinfo=None) if self.age else None


_page: ContextVar[Served | None] = ContextVar("page", default=None)


@contextmanager
def page(touchpoints: int) -> Iterator[Served]:
    """Figures that are asked for meanwhile may be older, if there are many touchpoints."""
    served = Served()
    token = _page.set(served if touchpoints >= LARGE else None)
    try:
        yield served
    finally:
        _page.reset(token)


class Results:
    """The last results, by what was asked.

    Args:
        most: so many are kept.
        old_seconds: older ones are of no use.
    """

    def __init__(self, most: int, old_seconds: float) -> None:
        self._most, self._old_seconds = most, old_seconds
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._state: Hashable = None
        # Of those that are kept.
        self._failed: set[Hashable] = set()

    def keep(self, key: Hashable, found: Kept, state: Hashable) -> None:
        """Keep a result, and of those of other states than this one only figures."""
        self._kept[key] = found
        self._kept.move_to_end(key)
        self._failed.discard(key)
        if state != self._state or found.state != state:
            self._state = state
            self.forget(state)
        while len(self._kept) > self._most:
            key, _ = self._kept.popitem(last=False)
            self._failed.discard(key)

    def forget(self, state: Hashable = None) -> None:
        """Drop results that may name customers who have been erased, but for those of a state.

        Args:
            state: of the read model as it is; None where those of it are dropped, too.
        """
        for key, each in list(self._kept.items()):
            if not each.is_figures and (state is None or each.state != state):
                del self._kept[key]
                self._failed.discard(key)

    def failed(self, key: Hashable) -> None:
        """A result could not be computed again: pages that show the last one say so."""
        if key in self._kept:
            self._failed.add(key)

    def of(self, key: Hashable, state: Hashable) -> Kept | None:
        """The result of this state of the read model, if there is one."""
        found = self._kept.get(key)
        if found is None or found.state != state:
            return None
        self._kept.move_to_end(key)
        return found

    def older(self, key: Hashable) -> Kept | None:
        """A result that the page which is being made may show all the same; the page takes note of its age."""
        found, served = self._kept.get(key), _page.get()
        if found is None or served is None or found.took < _SLOW_SECONDS or found.age > self._old_seconds:
            return None
        served.age = max(served.age, found.age)
        served.has_failed = served.has_failed or key in self._failed
        return found

    def pause(self, key: Hashable) -> float:
        """Seconds until a slow query is due again."""
        found = self._kept.get(key)
        return 0.0 if found is None else max(0.0, _PAUSE * found.took - found.age)
