"""Rows to events by a mapping: which rules take a row, and what they make of it.

A rule is a `when` with what follows from it: an event, or a reason to leave the row out. Rules come in layers;
the first layer in which a rule takes the row has it. A mapping with a hundred events is not tried one by one:
the column of which they ask the most different values picks out the few that can hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from cxstream.convert.drafts import Draft
from cxstream.convert.inputs import open_rows
from cxstream.convert.mapping import Event, Mapping, Skip, Test, Value
from cxstream.convert.numbers import number_reader
from cxstream.convert.paths import json_columns, written
from cxstream.convert.report import RowProblemError
from cxstream.convert.values import Columns, time, value, without
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cxstream.convert.inputs import Rows
    from cxstream.convert.mapping import Condition, Input
    from cxstream.convert.numbers import ReadNumber
    from cxstream.convert.report import Report

Holds: TypeAlias = Callable[[Any], bool]
Build: TypeAlias = Callable[[Any, int], Draft]

PIPE = "inputs that are no files, with ids made of their lines: the next pipe has the same; say `id` in the mapping"


class _Rule(NamedTuple):
    """A `when`, and what it leads to: an event, or a reason to leave the row out."""

    conditions: list[Holds]
    build: Build | None
    reason: str


class _Layer:
    """The rules of one mapping, in order: the reasons to leave a row out come first."""

    def __init__(self, mapping: Mapping, columns: Columns, name: str, report: Report) -> None:
        entries: list[Skip | Event] = [*mapping.skip, *mapping.complete()]
        self.key = _most_telling(entries)
        self._pick = without(columns, mapping.input.empty or ())(self.key) if self.key else None
        self._of: dict[str, list[_Rule]] = {}
        self._any: list[_Rule] = []
        wanted = [_fixed(entry.when.get(self.key)) if self.key else [] for entry in entries]
        for text in {text for texts in wanted for text in texts}:
            self._of[text] = []
        numbers = Counter[str]()
        for entry, texts in zip(entries, wanted, strict=True):
            rule = _rule(entry, columns, mapping.input, name, report, numbers)
            for text in texts or self._of:
                self._of[text].append(rule)
            if not texts:
                self._any.append(rule)

    def candidates(self, row: Any) -> list[_Rule]:
        """The rules that can take the row, in order."""
        if self._pick is None:
            return self._any
        return self._of.get(written(self._pick(row)) or "", self._any)

    def asked(self, row: Any) -> tuple[str, str]:
        """The column that tells the rules apart, and what the row has there; "" where there is none."""
        return self.key, (written(self._pick(row)) or "") if self._pick else ""


def _rule(
    entry: Skip | Event, columns: Columns, source: Input, name: str, report: Report, numbers: Counter[str]
) -> _Rule:
    known = without(columns, source.empty or ())
    read = number_reader(source)
    conditions = [_condition(known(column), wanted, read) for column, wanted in entry.when.items()]
    if isinstance(entry, Skip):
        return _Rule(conditions, None, entry.reason)
    numbers["events"] += 1
    return _Rule(conditions, _builder(entry, columns, source, name, report, numbers["events"]), "")


def _fixed(wanted: Condition | None) -> list[str]:
    """The texts that a condition asks for; none where it asks something else."""
    if wanted is None or isinstance(wanted, Test):
        return []
    choices = wanted if isinstance(wanted, list) else [wanted]
    return list(dict.fromkeys(written(choice) or "" for choice in choices))


def _most_telling(entries: Sequence[Skip | Event]) -> str:
    """The column of which the entries ask the most different values; "" where they ask nothing."""
    asked: dict[str, set[str]] = {}
    for entry in entries:
        for column, wanted in entry.when.items():
            asked.setdefault(column, set()).update(_fixed(wanted))
    return max(asked, key=lambda column: len(asked[column]), default="")


def _condition(get: Callable[[Any], Any], wanted: Condition, read: ReadNumber) -> Holds:
    if isinstance(wanted, Test):
        tests = list(_tests(wanted, read))
        return lambda row: all(test(get(row)) for test in tests)
    texts = frozenset(_fixed(wanted))
    return lambda row: (written(get(row)) or "") in texts


def _tests(wanted: Test, read: ReadNumber) -> Iterator[Holds]:
    if wanted.present is not None:
        yield lambda found: (found is not None) == wanted.present
    if wanted.is_not is not None:
        refused = frozenset(_fixed(wanted.is_not))
        yield lambda found: (written(found) or "") not in refused
    for bound, fits in (
        (wanted.above, float.__gt__),
        (wanted.below, float.__lt__),
        (wanted.at_least, float.__ge__),
        (wanted.at_most, float.__le__),
    ):
        if bound is not None:
            yield _bounded(bound, fits, read)


def _bounded(bound: float, fits: Callable[[float, float], bool], read: ReadNumber) -> Holds:
    def holds(found: Any) -> bool:
        try:
            return fits(read(found), float(bound))
        except ValueError:
            return False

    return holds


def _builder(event: Event, columns: Columns, source: Input, name: str, report: Report, number: int) -> Build:
    """The function that makes the draft of one event from a row and its line."""
    kind = event.kind
    constants = {key: what for key, what in event.data.items() if not isinstance(what, Value)}
    dynamic = [
        (key, value(key, what, columns, source, report.notes))
        for key, what in event.data.items()
        if isinstance(what, Value)
    ]
    at = time(_known(event.time), without(columns, source.empty or ()), report)
    of = _required("subject", _known(event.subject), columns, source, report)
    sender = (
        _constant(event.source)
        if isinstance(event.source, str)
        else _required("source", _known(event.source), columns, source, report)
    )
    identify = _required("id", event.id, columns, source, report) if event.id else None
    if identify is None and not Path(name).is_file():
        report.notes[PIPE] += 1
    ids = [key for key, _ in dynamic if key.endswith("_id")]
    prefix = f"{name}:"
    suffix = f":{number}" if number > 1 else ""

    def build(row: Any, line: int) -> Draft:
        data = constants.copy()
        for key, get in dynamic:
            found = get(row)
            if found is not None:
                data[key] = found
        id_ = identify(row) if identify else f"{prefix}{line}{suffix}"
        subject = of(row)
        draft = Draft(kind, id_, sender(row), subject, at(row), data, name, line)
        report.look_at("subject", subject, name, line)
        if identify:
            report.look_at("id", id_, name, line)
        for key in ids:
            if key in data:
                report.look_at(key, str(data[key]), name, line)
        return draft

    return build


def _known(spec: Any) -> Any:
    if spec is None:
        raise InputError("an event of the mapping has no source, subject or time")
    return spec


def _constant(text: str) -> Callable[[Any], str]:
    return lambda _row: text


def _required(
    name: str, spec: Value, columns: Columns, source: Input, report: Report
) -> Callable[[Any], str]:
    get = value(name, spec, columns, source, report.notes, optional=False)

    def find(row: Any) -> str:
        found = get(row)
        if found.__class__ is str:
            text: str = found
            return text
        if found is None:
            article = "an" if name == "id" else "a"
            raise RowProblemError(
                spec.column or name, "missing", f"is empty; an event needs {article} {name}"
            )
        return written(found) or str(found)

    return find


def drafts(paths: Sequence[Path], layers: Sequence[Mapping], report: Report) -> Iterator[Draft]:
    """The events of the files, in order.

    Args:
        paths: inputs, one after the other.
        layers: mappings; the first that takes a row has it. The first one says what the files are.
        report: counts rows, and hears of problems and of rows that no rule takes.

    Raises:
        InputError: a file cannot be read, or lacks a column that a mapping names.
    """
    wanted = set().union(*(mapping.columns() for mapping in layers))
    for path in paths:
        opened = open_rows(path, layers[0].input, report, wanted)
        yield from events_from(opened, [(mapping, opened.columns) for mapping in layers], report)


def events_from(opened: Rows, layers: Sequence[tuple[Mapping, Columns]], report: Report) -> Iterator[Draft]:
    """The events of one input, in order.

    Args:
        opened: the rows.
        layers: mappings, each with its way to the values of a row; the first that takes a row has it.
        report: hears of problems and of rows that no rule takes.
    """
    name = opened.name
    made = [_Layer(mapping, columns, name, report) for mapping, columns in layers]
    for line, row in opened.rows:
        yield from _apply(made, row, line, name, report)


def events_of(mapping: Mapping, row: dict[str, Any], line: int, name: str, report: Report) -> list[Draft]:
    """The events of one JSON object that comes from no file.

    Args:
        mapping: what it means.
        row: the object.
        line: stands for its line.
        name: stands for the name of its file.
        report: hears of problems.
    """
    return _apply([_Layer(mapping, json_columns, name, report)], row, line, name, report)


def _apply(layers: list[_Layer], row: Any, line: int, name: str, report: Report) -> list[Draft]:
    for layer in layers:
        made: list[Draft] = []
        taken = False
        for conditions, build, reason in layer.candidates(row):
            if conditions and not all(holds(row) for holds in conditions):
                continue
            if build is None:
                report.skipped[reason] += 1
                return []
            taken = True
            try:
                made.append(build(row, line))
            except RowProblemError as error:
                report.row_problem(name, line, error)
        if taken:
            return made
    field, found = layers[-1].asked(row)
    message = "no event and no skip of the mapping takes this row"
    report.problem(name, line, field, "unmapped_row", f"{message}; it is {found!r}" if found else message)
    return []
