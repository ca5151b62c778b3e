"""Signal rows of the kernels, and receipts of erasures, as CloudEvents.

    rows of signals --words--> what they say --documents--> values --> rows of topics
    their events  --felt--> where friction was felt --^

Signals of a batch are written together, by kernels: the form of each document is read off the type of its event.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET

from cxstream.kernels import layout as k
from cxstream.model import outputs as o
from cxstream.model.enumerations import LEVELS
from cxstream.model.experiments import arm_of, by_level
from cxstream.model.features import FEATURES
from cxstream.model.rfc3339 import rfc3339
from cxstream.scoring import words
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.documents import (
    NUMBER,
    STRING,
    TIME,
    WHOLE,
    WORD,
    documents,
    form_of,
    mark,
    quoted,
    texts,
)
from cxstream.scoring.state.erasures import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from cxstream.kernels.documents import Form
    from cxstream.model.rules import Rules
    from cxstream.scoring.codec.events import Felt

_encode = msgspec.json.Encoder().encode

# What a row is, by S_WHAT.
_WHAT: dict[int, str] = {
    k.FRICTION: "friction",
    k.ERASURE: "erased",
    k.RAISED: "raised",
    k.WORSENED: "worsened",
    k.EASED: "eased",
    k.CLEARED: "cleared",
}
_WHATS = [_WHAT.get(number, "") for number in range(max(_WHAT) + 1)]
# Numbers of a signal's document.
_SCORES = slice(k.S_P, k.S_EFFORT_SHORT)
_P, _EFFORT, _EFFORT_HW, _SAT, _SAT_HW, _ACUTE, _ALIVE, _CLV, _AT_RISK, _NUMBERS = range(10)
# Whole numbers of it. Those of words are numbers of texts.
(
    _WHO, _ORIGIN, _OFFSET, _TURN, _CLOCK, _TOPIC, _PARTITION, _CHANGE, _LEVEL, _PREVIOUS, _SAID, _ACTION, _LABEL, _EXPERIMENT, _ARM,
    _CHANNEL, _TOUCHPOINT, _WHOLES,
) = range(18)  # fmt: skip


class Emitted(msgspec.Struct, frozen=True, gc=False):
    """A row of an output topic: a signal, or the receipt of an erasure.

    Attributes:
        index: position in the batch of the record that caused it.
        topic: its topic, by the contract's name.
        key: the customer.
        value: the CloudEvent.
        change: friction, raised, worsened, eased, cleared or erased; empty for a receipt.
        level: the customer's level from now on; none for friction; empty for a receipt.
        reason: the leading reason, the feature that differs most from a typical customer; None without any.
    """

    index: int
    topic: str
    key: bytes
    value: bytes
    change: str = ""
    level: str = ""
    reason: str | None = None


class Signals(NamedTuple):
    """Signals of one batch that are to be written.

    Attributes:
        rows: float64[n, SIGNAL_WIDTH], in which S_INDEX is the position of the record.
        names: the customers.
        topics: texts of the contact topics in the rows, "" for none.
        offsets: int64[n], of the records that caused them.
        turns: int64[n], how many signals its record caused before each.
        kinds: int64[n], of these records; only those of the company's own matter.
        worths: float64[n], what the customers are worth; NaN where it is not known.
        places: int64[n], of the events that caused them.
        felt: gives what there is to say of the event at a place; only friction signals need it.
    """

    rows: NDArray[np.float64]
    names: Packed
    topics: Sequence[str]
    offsets: NDArray[np.int64]
    turns: NDArray[np.int64]
    kinds: NDArray[np.int64]
    worths: NDArray[np.float64]
    places: NDArray[np.int64]
    felt: Callable[[int], Felt]

    def parts(self, size: int) -> Iterator[Signals]:
        """All of them, at most so many at a time."""
        for begin in range(0, len(self.rows), size):
            part = slice(begin, begin + size)
            yield Signals(
                self.rows[part],
                self.names[part],
                self.topics[part],
                self.offsets[part],
                self.turns[part],
                self.kinds[part],
                self.worths[part],
                self.places[part],
                self.felt,
            )


# The sorts of signals, in the order of `_documents`.
_FRICTION, _ERASED, _CHURN_RISK = range(3)
# The sort of a signal by S_WHAT.
_SORTS = np.full(len(_WHATS), _CHURN_RISK)
_SORTS[k.FRICTION], _SORTS[k.ERASURE] = _FRICTION, _ERASED


class _Document(NamedTuple):
    """How signals of one sort are written.

    Attributes:
        topic: where to.
        form: of the document.
        tells: whether the level of the customer stands in it.
    """

    topic: str
    form: Form
    tells: bool


@lru_cache
def _documents(*, tried: bool, foretells: bool) -> tuple[_Document, ...]:
    """The documents of signals, one for each sort.

    Args:
        tried: the rules have experiments.
        foretells: ... and a purchase model.
    """

    def number(column: int) -> Any:
        return mark(NUMBER, column)

    envelope: dict[str, Any] = {
        "id": quoted(mark(WORD, _ORIGIN), "-", mark(WHOLE, _OFFSET), "-", mark(WHOLE, _TURN)),
        "subject": quoted(mark(STRING, _WHO)),
        "time": quoted(mark(TIME, _CLOCK)),
    }
    cause = o.Cause(quoted(mark(WORD, _TOPIC)), mark(WHOLE, _PARTITION), mark(WHOLE, _OFFSET))
    friction = o.Friction(
        effort_points=number(_ACUTE),
        channel=mark(WORD, _CHANNEL),
        touchpoint=mark(WORD, _TOUCHPOINT),
        evidence=mark(WORD, _SAID),
        cause=cause,
        model=mark(WORD, _LABEL),
    )
    erased = o.ErasedCustomer("erased", "none", mark(WORD, _PREVIOUS), cause)
    risk = o.ChurnRisk(
        change=mark(WORD, _CHANGE),
        level=mark(WORD, _LEVEL),
        previous=mark(WORD, _PREVIOUS),
        probability=number(_P),
        effort=number(_EFFORT),
        effort_halfwidth=number(_EFFORT_HW),
        satisfaction=number(_SAT),
        satisfaction_halfwidth=number(_SAT_HW),
        reasons=mark(WORD, _SAID),
        value_at_risk=number(_AT_RISK),
        suggested_action=mark(WORD, _ACTION),
        model=mark(WORD, _LABEL),
        cause=cause,
        experiment=mark(WORD, _EXPERIMENT) if tried else UNSET,
        arm=mark(WORD, _ARM) if tried else UNSET,
        p_alive=number(_ALIVE) if foretells else UNSET,
        clv=number(_CLV) if foretells else UNSET,
    )
    return (
        _Document(o.FRICTION.topic, form_of(o.FrictionSignal(**envelope, data=friction)), tells=False),
        _Document(o.CHURN_RISK.topic, form_of(o.ErasedSignal(**envelope, data=erased)), tells=False),
        _Document(o.CHURN_RISK.topic, form_of(o.ChurnRiskSignal(**envelope, data=risk)), tells=True),
    )


def _sorts(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """The sort of each signal."""
    sorts: NDArray[np.int64] = _SORTS[rows[:, k.S_WHAT].astype(np.int64)]
    return sorts


class _Words:
    """The words of documents as JSON, with their numbers."""

    def __init__(self) -> None:
        self.all: list[bytes] = []

    def add(self, *some: object) -> int:
        """Add words; the number of the first."""
        self.all += map(_encode, some)
        return len(self.all) - len(some)

    def add_quoted(self, text: str) -> int:
        """Add a word that stands within quotes."""
        self.all.append(_encode(text)[1:-1])
        return len(self.all) - 1


class Writer:
    """Writes the signals and receipts of one partition.

    Args:
        rules: the rules in force.
        topic: source topic.
        partition: its partition.

    Attributes:
        origin: the beginning of the ids of its signals: topic and partition.
    """

    def __init__(self, rules: Rules, topic: str, partition: int) -> None:
        self._topic = topic
        self._partition = partition
        self.origin = f"{topic}-{partition}"
        self.follow(rules)

    def follow(self, rules: Rules) -> None:
        """Write the signals of other rules from now on."""
        params = rules.params
        self._b = np.array([params.coefficients[name] for name in FEATURES])
        self._typical = np.array([params.typical[name] for name in FEATURES])
        self._own = words.OwnKinds.of([(name, kind.effort > 0) for name, kind in params.kinds.items()])
        self._experiments = by_level(params.experiments)
        self._documents = _documents(
            tried=bool(self._experiments), foretells=params.purchase_model is not None
        )
        known = _Words()
        self._levels = known.add(*LEVELS)
        self._changes = np.zeros(len(_WHATS), np.int64)
        self._changes[list(_WHAT)] = known.add(*_WHAT.values()) + np.arange(len(_WHAT))
        self._nothing = known.add(None)
        # The action of each feature; the last one is of no feature.
        self._actions = np.array(
            [known.add(rules.actions[name]) if name in rules.actions else self._nothing for name in FEATURES]
            + [self._nothing]
        )
        self._trials = {level: known.add(name) for level, (name, _) in self._experiments.items()}
        self._arms = {arm: known.add(arm) for arm in ("treated", "holdout")}
        self._fixed = np.zeros(_WHOLES, np.int64)
        self._fixed[_ORIGIN], self._fixed[_TOPIC] = (
            known.add_quoted(self.origin),
            known.add_quoted(self._topic),
        )
        self._fixed[_LABEL], self._fixed[_PARTITION] = known.add(rules.label), self._partition
        self._fixed[_EXPERIMENT] = self._fixed[_ARM] = self._nothing
        self._words = Packed.of(known.all)

    def signals(self, told: Signals) -> list[Emitted]:
        """Write signals, in order."""
        rows, n = told.rows, len(told.rows)
        said = words.said(rows, self._b, self._typical, told.topics, self._own, told.kinds)
        what, level = rows[:, k.S_WHAT].astype(np.int64), rows[:, k.S_LEVEL].astype(np.int64)
        sorts = _sorts(rows)
        numbers, wholes = np.empty((n, _NUMBERS)), np.empty((n, _WHOLES), np.int64)
        numbers[:, _P:_ACUTE] = rows[:, _SCORES]
        numbers[:, _ACUTE], numbers[:, _ALIVE] = rows[:, k.S_ACUTE], rows[:, k.S_ALIVE]
        numbers[:, _CLV], numbers[:, _AT_RISK] = told.worths, told.worths * rows[:, k.S_P]
        wholes[:] = self._fixed
        wholes[:, _WHO], wholes[:, _OFFSET], wholes[:, _TURN] = np.arange(n), told.offsets, told.turns
        wholes[:, _CLOCK], wholes[:, _CHANGE] = rows[:, k.S_CLOCK], self._changes[what]
        wholes[:, _LEVEL], wholes[:, _PREVIOUS] = self._levels + level, self._levels + rows[:, k.S_PREVIOUS]
        wholes[:, _ACTION] = self._actions[np.where((level > 0) & said.raises, said.leading, -1)]
        wholes[:, _SAID] = len(self._words) + np.arange(n)
        self._try(wholes, sorts, level, told.names)
        values = self._values(
            sorts, numbers, wholes, self._all_words(told, sorts, said.texts, wholes), told.names
        )
        written = [self._documents[sort] for sort in sorts.tolist()]
        return list(
            map(
                Emitted,
                rows[:, k.S_INDEX].astype(np.int64).tolist(),
                [document.topic for document in written],
                told.names,
                values,
                [_WHATS[each] for each in what.tolist()],
                [
                    LEVELS[each] if document.tells else LEVELS[0]
                    for document, each in zip(written, level.tolist(), strict=True)
                ],
                [None if each < 0 else FEATURES[each] for each in said.leading.tolist()],
            )
        )

    def _try(
        self, wholes: NDArray[np.int64], sorts: NDArray[np.int64], level: NDArray[np.int64], names: Packed
    ) -> None:
        """Fill in the experiments that apply, and the arms of the customers."""
        for name, (trial, experiment) in self._experiments.items():
            for i in np.flatnonzero((level == LEVELS.index(name)) & (sorts != _FRICTION)).tolist():
                wholes[i, _EXPERIMENT] = self._trials[name]
                wholes[i, _ARM] = self._arms[arm_of(trial, experiment, names[i].decode())]

    def _all_words(
        self, told: Signals, sorts: NDArray[np.int64], said: Packed, wholes: NDArray[np.int64]
    ) -> Packed:
        """All words of the documents; fills in which of them say where friction was felt."""
        here: list[bytes] = []
        frictions = np.flatnonzero(sorts == _FRICTION)
        for place in told.places[frictions].tolist():
            event = told.felt(place).data
            assert event is not None  # noqa: S101  # friction is felt in an event of a customer
            here += _encode(event.channel), _encode(event.touchpoint)
        fixed, felt = self._words, Packed.of(here)
        first = len(fixed) + len(said) + 2 * np.arange(len(frictions))
        wholes[frictions, _CHANNEL], wholes[frictions, _TOUCHPOINT] = first, first + 1
        begin, behind = len(fixed.text), len(fixed.text) + len(said.text)
        return Packed(
            fixed.text + said.text + felt.text,
            np.concatenate([fixed.begins, said.begins + begin, felt.begins + behind]),
            np.concatenate([fixed.ends, said.ends + begin, felt.ends + behind]),
        )

    def _values(
        self, sorts: NDArray[np.int64], numbers: NDArray[np.float64], wholes: NDArray[np.int64], all_words: Packed, names: Packed
    ) -> list[bytes]:  # fmt: skip
        """The documents, in order."""
        values = [b""] * len(sorts)
        spoken, called = texts(all_words), texts(names)
        for number, document in enumerate(self._documents):
            some = np.flatnonzero(sorts == number)
            if len(some):
                written = documents(document.form, numbers[some], wholes[some], spoken, called)
                for i, value in zip(some.tolist(), written, strict=True):
                    values[i] = value
        return values

    def receipt(self, row: Sequence[float], subject: str, offset: int, event: Any) -> Emitted:
        """The receipt of an erasure.

        Args:
            row: SIGNAL_WIDTH numbers.
            subject: the customer.
            offset: of the request.
            event: the request.
        """
        data = o.Forgotten(
            request=event.id,
            requested_by=event.source,
            requested_at=event.time,
            known=bool(row[k.S_LEVEL]),
            erased=o.Erased(
                int(row[k.S_ERASED_PANES]),
                int(row[k.S_ERASED_COMPLAINTS]),
                int(row[k.S_ERASED_CONTACTS]),
                int(row[k.S_ERASED_PURCHASES]),
                int(row[k.S_ERASED_OWN]),
            ),
            cause=o.Cause(self._topic, self._partition, offset),
        )
        whom = digest(subject).hex()
        receipt = o.Receipt(
            id=f"{self.origin}-{offset}-forgotten",
            subject=whom,
            time=rfc3339(int(row[k.S_CLOCK])),
            data=data,
        )
        return Emitted(int(row[k.S_INDEX]), o.FORGOTTEN.topic, whom.encode(), _encode(receipt))
