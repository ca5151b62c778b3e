r"""Paths into JSON records: `user.id`, `tags[0]`, `custom_fields[id=360].value`, `"a.b".c`.

    path     = step *( "." step / "[" choice "]" )
    step     = name / quoted           a name without . [ ] and quotes; anything in quotes, with \" and \\ in it
    choice   = index / name "=" value  the item at an index (-1 is the last); the first item whose name has the value

Text that is no such path is the name of a column as it stands, and a path of plain names also finds a column that is
called like the whole of it, as flattened exports have them.

What paths found is remembered: one that was found in no record is probably misspelt, and is told at the end.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

_MISSING = object()
_STEP = re.compile(r'"((?:[^"\\]|\\.)*)"|([^.\[\]"]+)')
_CHOICE = re.compile(r'\[\s*(?:(-?\d+)|([^=\[\]"]+?)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\[\]"]*?)))\s*\]')
_ESCAPED = re.compile(r"\\(.)")
_ITEM_OF = re.compile(r"([\w.]+)\[[^\[\]]*\]")
_PLAIN = re.compile(r'[^.\[\]"]+')

_SAMPLED_RECORDS = 500
_MOST_PATHS = 5000
_MOST_ITEMS = 20
_DEEPEST = 8
_SHOWN = 12
_TELLING = ("id", "key", "name", "code", "field", "type")
_LIKENESS = 0.6
_EXACT = 2**53


class _Item(NamedTuple):
    """The first item of a list whose `name` is written `value`."""

    name: str
    value: str


Step: TypeAlias = str | int | _Item
Get: TypeAlias = Callable[[Any], Any]


def parsed(path: str) -> list[Step]:
    """The steps of a path.

    >>> parsed("a.b"), parsed('"a.b".c[0]'), parsed("f[id=360].value"), parsed("price [EUR]")
    (['a', 'b'], ['a.b', 'c', 0], ['f', _Item(name='id', value='360'), 'value'], ['price [EUR]'])
    """
    steps: list[Step] = []
    at = 0
    while True:
        step = _STEP.match(path, at)
        if step is None:
            return [path]
        steps.append(_unescaped(step[1]) if step[1] is not None else step[2])
        at = step.end()
        while choice := _CHOICE.match(path, at):
            index, name, quoted, value = choice.groups()
            of = _unescaped(quoted) if quoted is not None else value
            steps.append(int(index) if index is not None else _Item(name.strip(), of))
            at = choice.end()
        if at == len(path):
            return steps
        if path[at] != ".":
            return [path]
        at += 1


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def first_names(path: str) -> set[str]:
    """The columns in which a path can find something."""
    first = parsed(path)[0]
    return {path, first} if isinstance(first, str) else {path}


def written(value: Any) -> str | None:
    """How a value is written: the same for a CSV cell, a JSON value and a TOML one; None for what is no scalar.

    A float beyond 2**53 may be rounded; it is written as a float, so that it is told where it is an id.

    >>> [written(value) for value in ("1", 1, 1.0, True, [], 2.0**53)]
    ['1', '1', '1', 'true', None, '9007199254740992.0']
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return str(value) if isinstance(value, int | float) else None


def _walk(steps: list[Step]) -> Get:
    def find(row: Any) -> Any:
        here = row
        for step in steps:
            if step.__class__ is str:
                if here.__class__ is not dict:
                    return _MISSING
                here = here.get(step, _MISSING)
            else:
                here = _item(here, step)
            if here is _MISSING:
                return _MISSING
        return here

    return find


def _item(items: Any, step: Any) -> Any:
    if items.__class__ is not list:
        return _MISSING
    if isinstance(step, int):
        return items[step] if -len(items) <= step < len(items) else _MISSING
    for item in items:
        if item.__class__ is dict and written(item.get(step.name)) == step.value:
            return item
    return _MISSING


def _finder(path: str) -> Get:
    steps = parsed(path)
    if len(steps) == 1:
        (name,) = steps
        return lambda row: row.get(name, _MISSING)
    walk = _walk(steps)
    if not all(isinstance(step, str) for step in steps) or '"' in path:
        return walk

    def find(row: Any) -> Any:
        found = walk(row)
        return row.get(path, _MISSING) if found is _MISSING else found

    return find


def json_columns(path: str) -> Get:
    """The function that finds a path in a record; None for null, empty text and what is not there."""
    find = _finder(path)

    def get(row: Any) -> Any:
        value = find(row)
        return None if value is _MISSING or value == "" else value

    return get


class _Seen:
    """Whether a path was looked for in a record, and whether it was there."""

    __slots__ = ("found", "looked")

    def __init__(self) -> None:
        self.looked = self.found = False


class PathSurvey:
    """The paths that a mapping asks for, and those that the records have."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._there: dict[str, None] = {}
        self._sampled = 0

    def columns(self, path: str) -> Get:
        """As `json_columns`, and remembers whether the path is ever there."""
        find, seen = _finder(path), self._seen.setdefault(path, _Seen())

        def get(row: Any) -> Any:
            value = find(row)
            if value is _MISSING:
                seen.looked = True
                return None
            seen.found = True
            return None if value == "" else value

        return get

    def sample(self, record: dict[str, Any]) -> None:
        """Take note of the paths in a record; only the first records are looked at."""
        if self._sampled < _SAMPLED_RECORDS and len(self._there) < _MOST_PATHS:
            self._sampled += 1
            self._there.update(dict.fromkeys(islice(_paths(record), _MOST_PATHS)))

    def hints(self) -> Iterator[str]:
        """A sentence for each path that was looked for and never there."""
        for path, seen in self._seen.items():
            if seen.looked and not seen.found:
                yield f"{path} was found in no record; {self._instead(path)}"

    def _instead(self, path: str) -> str:
        """What to ask for in the place of a path that is not there."""
        ends = f".{path}"
        for there in self._there:
            around = _ITEM_OF.fullmatch(there.removesuffix(ends)) if there.endswith(ends) else None
            if around:
                return f"the items of {around[1]} have it: jq -c '.{around[1]}[]' makes them the records"
        close = difflib.get_close_matches(path, self._there, 1, _LIKENESS)
        more = ", ..." if len(self._there) > _SHOWN else ""
        return (
            f"did you mean {close[0]}?"
            if close
            else f"there are {', '.join(islice(self._there, _SHOWN))}{more}"
        )


def _paths(value: Any, before: str = "", depth: int = 0) -> Iterator[str]:
    """The paths to everything in a value, as they are written."""
    if depth >= _DEEPEST:
        return
    if isinstance(value, dict):
        for name, item in value.items():
            shown = name if _PLAIN.fullmatch(name) else '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
            path = f"{before}.{shown}" if before else shown
            yield path
            yield from _paths(item, path, depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value[:_MOST_ITEMS]):
            path = f"{before}[{number}]"
            if isinstance(item, dict):
                told = next((name for name in _TELLING if written(item.get(name))), None)
                path = f"{before}[{told}={written(item[told])}]" if told else path
            yield path
            yield from _paths(item, path, depth + 1)
