"""Evidence in words: what a CRM agent reads before the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from cxstream.kernels import layout as k
from cxstream.kernels import phrases as p
from cxstream.kernels.documents import ESCAPED_BYTES
from cxstream.model.features import FEATURES
from cxstream.model.outputs import Reason
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.documents import texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.kernels.documents import Texts
    from cxstream.model.parameters import ScoringParams

Row = Sequence[float]
Card = Mapping[str, Any]


class Own(NamedTuple):
    """How often the customer met a kind of the company's own in the signal's span of days.

    Attributes:
        name: of the kind.
        n: how often.
        effort: whether it costs effort; else it only annoys.
    """

    name: str
    n: int
    effort: bool


def count(n: float, one: str, many: str | None = None) -> str:
    """`1 error`, `3 errors`."""
    whole = int(n)
    return f"{whole} {one if whole == 1 else many or one + 's'}"


_Step = tuple[int, ...]
_Steps = list["str | _Step | _Count | _Either"]


class _Count(NamedTuple):
    """A whole number of a column, and what is counted: one, or several."""

    column: int
    one: str
    many: str


class _Either(NamedTuple):
    """Steps where a column is not 0 (or, without one, where something has been said), and others where it is."""

    column: int | None
    then: _Steps
    otherwise: _Steps


def _n(column: int, one: str, many: str | None = None) -> _Count:
    return _Count(column, f" {one}", f" {many or one + 's'}")


def _if(column: int, then: _Steps, otherwise: _Steps | None = None) -> _Either:
    return _Either(column, then, otherwise or [])


def _some(column: int, one: str, many: str | None = None) -> _Either:
    return _if(column, [_NEXT, _n(column, one, many)])


_NEXT: _Step = (p.NEXT,)
_IN_SPAN: _Steps = [" ", (p.SPAN,)]
_ABOUT: _Steps = [" about '", (p.TOPIC,), "'"]
_CONTACTS: _Steps = [
    _n(k.S_CONTACTS, "contact"),
    _if(
        p.F_NAMED,
        [
            _if(
                p.F_ALL_NAMED,
                [*_ABOUT, *_IN_SPAN],
                [*_IN_SPAN, ", ", (p.WHOLE, k.S_TOPIC_N), *_ABOUT],
            )
        ],
        _IN_SPAN,
    ),
]
# What cost the customer effort in the signal's span of days, the contacts first, kinds of the company's own last.
_TROUBLES: _Steps = [
    _if(k.S_CONTACTS, _CONTACTS),
    _if(k.S_WAITED, [_NEXT, (p.WAITED, k.S_WAITED)]),
    _some(k.S_TRANSFERS, "transfer"),
    _some(k.S_ABANDONED, "contact given up", "contacts given up"),
    _some(k.S_UNRESOLVED, "contact unresolved", "contacts unresolved"),
    _some(k.S_FAILED, "failed digital step"),
    _some(k.S_LATE, "late delivery", "late deliveries"),
    (p.OWN, 1),
    _if(k.S_CONTACTS, [], [_Either(None, _IN_SPAN, [])]),
]
_SINCE: _Steps = [_if(p.F_OLD_COMPLAINT, ["for ", _n(k.S_COMPLAINT_TIME, "day")], ["since today"])]
# Open complaints and the age of the oldest.
_COMPLAINTS: _Steps = [
    _if(
        p.F_COMPLAINTS,
        [(p.WHOLE, k.S_COMPLAINTS), " complaints open, the oldest ", *_SINCE],
        ["complaint open ", *_SINCE],
    )
]
_EFFORT: _Steps = [
    "effort ",
    (p.WHOLE, k.S_EFFORT),
    " of 100",
]
_UNSUBSCRIBED: _Steps = ["unsubscribed ", (p.AGO, k.S_UNSUBSCRIBED)]


def _slowdown_value(x: float, _card: Card, params: ScoringParams) -> str:
    most = params.slowdown_max
    return f"{x * most:.1f} active days missed in {params.slowdown_days}, at most {most:g} count"


def _just_unsubscribed_value(x: float, _card: Card, params: ScoringParams) -> str:
    days = params.just_unsubscribed_days
    return f"unsubscribed within {days} days" if x else f"not unsubscribed within {days} days"


def _unresolved_value(x: float, _card: Card, params: ScoringParams) -> str:
    scale = params.unresolved_scale
    return f"{x * scale:.1f} contacts without help, weighted by age, at most {scale:g} count"


def _lapse_value(x: float, _card: Card, _params: ScoringParams) -> str:
    return f"purchases have stopped, {x:.0%} sure"


def _effort_value(_x: float, card: Card, params: ScoringParams) -> str:
    return f"effort {card['effort']:.0f} of 100, typical is {100 * params.typical['effort']:.0f}"


def _surge_value(x: float, _card: Card, params: ScoringParams) -> str:
    return f"effort of the last {params.surge_days} days is {100 * x:.0f} above that of the window"


def _dissatisfaction_value(_x: float, card: Card, params: ScoringParams) -> str:
    typical = 100 * (1 - params.typical["dissatisfaction"])
    return f"satisfaction {card['satisfaction']:.0f} of 100, typical is {typical:.0f}"


def _detractor_value(x: float, _card: Card, params: ScoringParams) -> str:
    return f"the latest NPS answer is {params.detractor_max} or less" if x else "no detractor"


def _complaint_value(x: float, _card: Card, params: ScoringParams) -> str:
    scale = params.complaints_scale
    return f"{count(round(x * scale), 'open complaint')}, at most {scale:g} count"


def _silence_value(x: float, _card: Card, params: ScoringParams) -> str:
    most = params.silence_max
    return f"{x * most:.1f} visits missed in the customer's rhythm, at most {most:g} count"


def _unsubscribed_value(x: float, _card: Card, _params: ScoringParams) -> str:
    return "unsubscribed" if x else "not unsubscribed"


class _Words(NamedTuple):
    """How a feature is put into words.

    Attributes:
        evidence: the facts behind it, as steps.
        value: its value x, with the `data` of the score card it stands on.
    """

    evidence: _Steps
    value: Callable[[float, Card, ScoringParams], str]


_WORDS: dict[str, _Words] = {
    "effort": _Words(
        [
            # Where it lowers the risk, trouble is not its evidence.
            _if(
                p.F_LOWERS,
                [*_EFFORT, ", less than usual"],
                [
                    *_TROUBLES,
                    _if(k.S_COMPLAINTS, [_NEXT, *_COMPLAINTS]),
                    _Either(None, [], [*_EFFORT, " over the window"]),
                ],
            )
        ],
        _effort_value,
    ),
    "surge": _Words(
        [
            "effort ",
            (p.WHOLE, k.S_EFFORT_SHORT),
            " of 100 this week against ",
            (p.WHOLE, k.S_EFFORT),
            " over the window",
        ],
        _surge_value,
    ),
    "dissatisfaction": _Words(
        [
            "satisfaction ",
            (p.WHOLE, k.S_SAT),
            " of 100, ",
            _if(k.S_ANSWERS, ["with recent answers"], ["inferred, no answer given"]),
            _if(p.F_RAISES, [_if(p.F_ANNOYING, [(p.OWN, 0), *_IN_SPAN])]),
        ],
        _dissatisfaction_value,
    ),
    "detractor": _Words(["NPS answer ", (p.WHOLE, k.S_NPS), ", ", (p.AGO, k.S_NPS_TIME)], _detractor_value),
    "complaint": _Words([_if(k.S_COMPLAINTS, _COMPLAINTS, ["no open complaint"])], _complaint_value),
    "silence": _Words(
        [
            "no touch for ",
            _n(k.S_QUIET, "day"),
            ", usually one every ",
            (p.TENTHS, k.S_RHYTHM),
            " days",
        ],
        _silence_value,
    ),
    "lapse": _Words(
        [
            "last purchase ",
            (p.AGO, p.F_LAPSED),
            _if(p.F_AGAIN, [", usually one every ", (p.WHOLE, p.F_EVERY), " days"], [", the only one"]),
        ],
        _lapse_value,
    ),
    "unsubscribed": _Words(_UNSUBSCRIBED, _unsubscribed_value),
    "slowdown": _Words(
        [_n(k.S_ACTIVE, "active day"), " of late, usually ", (p.TENTHS, k.S_USUAL), " in that time"],
        _slowdown_value,
    ),
    "just_unsubscribed": _Words(_UNSUBSCRIBED, _just_unsubscribed_value),
    "unresolved": _Words(
        [
            _some(k.S_UNRESOLVED, "contact unresolved", "contacts unresolved"),
            _some(k.S_ABANDONED, "contact given up", "contacts given up"),
            _Either(None, _IN_SPAN, ["earlier contacts did not help"]),
        ],
        _unresolved_value,
    ),
}


def value(feature: str, x: float, card: Card, params: ScoringParams) -> str:
    """The value of a feature in words.

    Args:
        feature: its name.
        x: the value.
        card: `data` of the score card.
        params: the parameters that scored it.
    """
    return _WORDS[feature].value(x, card, params)


class _Compiler:
    """Makes a program of steps."""

    def __init__(self) -> None:
        self._texts = {text: i for i, text in enumerate(p.FIXED_TEXTS)}
        self._steps: list[_Step] = []
        self._begins = [0]

    def add(self, steps: _Steps) -> None:
        """The next program."""
        self._steps += self._flat(steps)
        self._begins.append(len(self._steps))

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))

    def _flat(self, steps: _Steps) -> list[_Step]:
        found: list[_Step] = []
        for step in steps:
            match step:
                case str():
                    found.append((p.SAY, self._text(step)))
                case _Count(column, one, many):
                    found.append((p.COUNT, column, self._text(one), self._text(many)))
                case _Either(column, then, otherwise):
                    first, second = self._flat(then), self._flat(otherwise)
                    first.append((p.SKIP, 0, len(second)))
                    unless = p.UNLESS_SAID if column is None else p.UNLESS
                    found += [(unless, column or 0, len(first)), *first, *second]
                case _:
                    found.append(step)
        return found

    def program(self) -> p.Program:
        """All of them."""
        steps = np.zeros((len(self._steps), 4), np.int64)
        for row, step in zip(steps, self._steps, strict=True):
            row[: len(step)] = step
        pieces = []
        for name in FEATURES:
            # The values are put where the marks are.
            mark: Any = msgspec.Raw(b'"@"')
            said = msgspec.json.encode(Reason(name, mark, mark, "@")).split(b'"@"')
            pieces += [*said[:2], said[2] + b'"']
        return p.Program(
            steps,
            np.array(self._begins),
            texts([msgspec.json.encode(text)[1:-1] for text in self._texts]),
            texts(pieces),
        )


def _program() -> p.Program:
    compiler = _Compiler()
    for name in FEATURES:
        compiler.add(_WORDS[name].evidence)
    compiler.add(_TROUBLES)
    compiler.add([_if(k.S_COMPLAINTS, _COMPLAINTS)])
    return compiler.program()


PROGRAM = _program()
# The most bytes of a reason, without the names of topics and of kinds of the company's own.
_REASON_BYTES = 800


class OwnKinds(NamedTuple):
    """The kinds of the company's own that rules have.

    Attributes:
        names: as JSON has them within quotes.
        costs: int64[n], which of them cost effort.
        longest: bytes of the longest name.
    """

    names: Texts
    costs: NDArray[np.int64]
    longest: int

    @classmethod
    def of(cls, kinds: Sequence[tuple[str, bool]]) -> OwnKinds:
        """Kinds with whether they cost effort."""
        names = [msgspec.json.encode(name)[1:-1] for name, _ in kinds]
        costs = np.array([effort for _, effort in kinds], np.int64)
        return cls(texts(names), costs, max(map(len, names), default=0))


class Said(NamedTuple):
    """What n signals say in words.

    Attributes:
        texts: JSON of each: the list of its reasons, the strongest first; of friction what is behind it.
        leading: int64[n], the number of the leading feature of each; -1 without reasons.
        raises: bool[n], whether that raises the risk.
    """

    texts: Packed
    leading: NDArray[np.int64]
    raises: NDArray[np.bool_]


def said(
    rows: NDArray[np.float64], b: NDArray[np.float64], typical: NDArray[np.float64], topics: Sequence[str], own: OwnKinds,
    kinds: NDArray[np.int64],
) -> Said:  # fmt: skip
    """What signals say in words.

    Args:
        rows: float64[n, SIGNAL_WIDTH].
        b: float64[FEATURES], coefficients.
        typical: float64[FEATURES].
        topics: texts of the contact topics in the rows, "" for none.
        own: kinds of the company's own in the rows.
        kinds: int64[n], of the events that caused the signals; only those of the company's own matter.
    """
    rows = np.ascontiguousarray(rows)
    n, named = len(rows), Packed.of([topic.encode() for topic in topics])
    numbers = rows[:, k.S_OWN :: 2][rows[:, k.S_OWN + 1 :: 2] != 0]
    if len(numbers) and not k.FIRST_OWN <= numbers.min() <= numbers.max() < k.FIRST_OWN + len(own.costs):
        raise IndexError("a signal names a kind of the company's own that the rules do not have")
    order, counts = np.empty((n, len(FEATURES)), np.int64), np.empty(n, np.int64)
    contributions, ends = np.empty((n, len(FEATURES))), np.empty(n, np.int64)
    most = len(FEATURES) * (_REASON_BYTES + k.OWN_NAMED * own.longest)
    out = np.empty(n * most + 2 * ESCAPED_BYTES * len(named.text), np.uint8)
    end = p.say_all(
        rows, np.empty((n, p.FACTS)), b, typical, contributions, order, counts, PROGRAM, own.names, own.costs,
        texts(named), kinds, out, ends, rows.view(np.uint64), contributions.view(np.uint64),
    )  # fmt: skip
    begins = np.empty_like(ends)
    begins[:1] = 0
    begins[1:] = ends[:-1]
    leading = np.where(counts > 0, order[:, 0], -1)
    raises = contributions[np.arange(n), leading] > 0
    return Said(Packed(out[:end].tobytes(), begins, ends), leading, raises)


def evidence(feature: str, row: Row, topic: str, contribution: float, own: Sequence[Own] = ()) -> str:
    """The evidence behind a feature of a signal.

    Args:
        feature: its name.
        row: SIGNAL_WIDTH numbers of the signal.
        topic: text of the contact topic in the row.
        contribution: of the feature to the risk.
        own: kinds of the company's own, the most frequent first.
    """
    [filled] = rows = np.array([row], np.float64)
    for i, each in enumerate(own):
        filled[k.S_OWN + 2 * i : k.S_OWN + 2 * i + 2] = k.FIRST_OWN + i, each.n
    filled[k.S_OWN + 2 * len(own) :] = 0
    kinds, about = OwnKinds.of([(each.name, each.effort) for each in own]), Packed.of([topic.encode()])
    size = _REASON_BYTES + k.OWN_NAMED * kinds.longest + 2 * ESCAPED_BYTES * len(about.text)
    out = np.empty(size, np.uint8)
    end = p.say(
        rows, np.empty((1, p.FACTS)), PROGRAM, FEATURES.index(feature), contribution, kinds.names, kinds.costs,
        texts(about), out,
    )  # fmt: skip
    text: str = msgspec.json.decode(b'"%b"' % out[:end].tobytes())
    return text
