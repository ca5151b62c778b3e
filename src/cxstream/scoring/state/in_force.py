"""Which rules are in force in a partition, and which were when a customer was last evaluated.

    offset    ... r1 ............... sweep ....... r2 ...........
    rules     settings | set of r1                 | set of r2
    kept      settings, r1           r1             r1, r2

A customer meets new rules at the next evaluation, and until then the score card says what the rules before said. So the
rules since the last sweep are kept: a sweep evaluates every customer.

Sets follow each other by `time`: one that is not later than the set in force is a duplicate, however often and in
whatever order sets are sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from cxstream.model.errors import SnapshotError
from cxstream.model.rules import Rules, RulesError, read_rules
from cxstream.scoring.state.constants import constants

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.kernels.layout import Constants

# Of the settings: they are in force from the beginning of the log on.
BEGINNING = -1
# Sets of rules since the last sweep. If there are more, all customers' cards are written by the latest.
MOST = 16


class SavedRules(msgspec.Struct, frozen=True):
    """A set of rules as a snapshot has it.

    Attributes:
        data: the set.
        offset: of its record; -1 for the settings.
        time: its event time, ms UTC; null for the settings.
        source: who wrote it.
        id: its id there.
    """

    data: msgspec.Raw
    offset: int
    time: int | None = None
    source: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class InForce:
    """A set of rules, and since when it is in force.

    Attributes:
        rules: the set.
        offset: of its record; BEGINNING for the settings.
        time: its event time, ms UTC; None for the settings.
        source: who wrote it.
        id: its id there.
    """

    rules: Rules
    offset: int = BEGINNING
    time: int | None = None
    source: str = ""
    id: str = ""

    @property
    def of_log(self) -> bool:
        """Whether a record of the log says so, not the settings."""
        return self.time is not None

    def saved(self) -> SavedRules:
        """The form that a snapshot has."""
        return SavedRules(msgspec.Raw(self.rules.data), self.offset, self.time, self.source, self.id)


def loaded(saved: SavedRules) -> InForce:
    """A set of rules out of a snapshot.

    Raises:
        SnapshotError: it is not valid.
    """
    try:
        rules = read_rules(bytes(saved.data))
    except RulesError as error:
        raise SnapshotError(
            f"the snapshot's rules are not valid ({error}): rebuild the partition", "other"
        ) from error
    return InForce(rules, saved.offset, saved.time, saved.source, saved.id)


class Timeline:
    """The rules since the last sweep, the latest last.

    Args:
        sets: at least one.
        ahead_ms: see there.

    Attributes:
        sets: the rules.
        ahead_ms: the furthest that any rules so far let an event time be after its record's Kafka timestamp, ms.
    """

    def __init__(self, sets: Sequence[InForce], ahead_ms: int = 0) -> None:
        self.sets = list(sets)
        self.ahead_ms = max(ahead_ms, *(each.rules.future_ms for each in sets))
        self._constants: dict[int, Constants] = {}

    @property
    def latest(self) -> InForce:
        """The rules in force."""
        return self.sets[-1]

    def follow(self, new: InForce, *, forget: bool) -> bool:
        """Put a set in force.

        Args:
            new: the set.
            forget: do not keep the ones before.

        Returns:
            Whether the ones before are kept.
        """
        keep = not forget and len(self.sets) < MOST
        self.sets = [*self.sets, new] if keep else [new]
        self.ahead_ms = max(self.ahead_ms, new.rules.future_ms)
        self._constants = {}
        return keep

    def saved(self) -> tuple[SavedRules, ...]:
        """The form that a snapshot has."""
        return tuple(each.saved() for each in self.sets)

    def swept(self, offset: int) -> None:
        """Drop the rules that were in force before those of the last sweep.

        Args:
            offset: of the record that caused the sweep.
        """
        while len(self.sets) > 1 and self.sets[1].offset < offset:
            del self.sets[0]
            self._constants = {}

    def constants(self, index: int) -> Constants:
        """The constants of one of the sets."""
        if index not in self._constants:
            self._constants[index] = constants(self.sets[index].rules.params)
        return self._constants[index]
