"""The rules: everything that decides a result and that a company may choose.

Rules are the parameters of the scores, kinds of the company's own among them, and the suggested actions. They are
records of the log (`cx.rules.v1`): a record's `data` is the set that is in force from the next record of its partition
on. Where a log has no such record, the settings say the rules.

    data   {"scoring": {parameter: value}, "actions": {feature: action}}

`scoring.max_record_bytes` is not part of them: it bounds what a worker holds in memory before a record can be read. A
parameter that a set does not name has its default. Every output names the rules by their label, the name and a digest
of `data` as it was written, so that the same log gives the same bytes in later versions, which may know more
parameters.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxstream.model.experiments import Experiment
from cxstream.model.features import FEATURES, SPECS, Feature
from cxstream.model.kinds import Kind
from cxstream.model.parameters import (
    MAX_OWN_KINDS,
    MINUTE_MS,
    OwnKind,
    PurchaseModel,
    ScoringParams,
    TextModelParams,
    ValueModel,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

_DIGEST_BYTES = 4
# Sets whose verdict is remembered; a record has at most some megabytes.
_KEPT = 4
_NOT_RULES = frozenset({"max_record_bytes"})
# The most checks of one set, each without what the ones before found.
_ROUNDS = 2 * MAX_OWN_KINDS
# Objects within objects in a set: data.scoring.kinds.parcel_lost.
_DEPTH = 4
# What a parameter is checked with.
_TOGETHER = {
    "data.scoring.base_currency": ("data.scoring.rates",),
    "data.scoring.window_days": ("data.scoring.surge_days",),
    "data.scoring.purchase_model": ("data.scoring.value_model",),
}
_NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "points": (
        "kind; points of a kind of your own are in its [scoring.kinds] table",
        tuple(kind.label for kind in Kind),
    ),
    "coefficients": ("feature", FEATURES),
    "typical": ("feature", FEATURES),
}
# Parameters that are tables of their own, and how long the path of a name in them is.
_MODELS: dict[str, type[BaseModel]] = {
    "purchase_model": PurchaseModel,
    "value_model": ValueModel,
    "text_model": TextModelParams,
}
_OF_MODEL = 3
_NAMED = re.compile(r"([a-z]\w*(?:\.\w+)*): (.*)", re.DOTALL)
Action = Annotated[str, Field(min_length=1, max_length=256)]


class RulesError(ValueError):
    """A set of rules is not valid.

    Attributes:
        field: path of what is wrong, from `data` on.
        reason: what is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


class _Set(BaseModel):
    """`data` of a record of rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scoring: ScoringParams = Field(default_factory=ScoringParams)
    actions: dict[Feature, Action] = Field(
        default_factory=lambda: {name: SPECS[name].action for name in FEATURES}
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """A set of rules.

    Attributes:
        params: the parameters of the scores.
        actions: suggested action by leading feature.
        data: the set as a record has it: canonical JSON.
        label: the name of the rules and a digest of `data`, as `default-1@3f2a9c1e`.
    """

    params: ScoringParams
    actions: Mapping[str, str]
    data: bytes
    label: str

    @property
    def future_ms(self) -> int:
        """How far an event time may be after its record's Kafka timestamp, in ms."""
        return round(self.params.future_minutes * MINUTE_MS)

    def is_same(self, other: Rules) -> bool:
        """Whether both give the same results, whatever they are called."""
        return _unnamed(self.params) == _unnamed(other.params) and dict(self.actions) == dict(other.actions)


def _unnamed(params: ScoringParams) -> dict[str, Any]:
    return params.model_dump(exclude={"name", *_NOT_RULES})


def rules_of(params: ScoringParams, actions: Mapping[str, str]) -> Rules:
    """The rules that the settings say."""
    data = {
        # A model that is not there is not named, so that sets without one keep their digest.
        "scoring": params.model_dump(mode="json", exclude=set(_NOT_RULES), exclude_none=True),
        "actions": dict(actions),
    }
    return _labelled(params, actions, data)


def read_rules(data: bytes | msgspec.Raw) -> Rules:
    """The rules of a record.

    Args:
        data: the record's `data`, well-formed JSON.

    Raises:
        RulesError: the set is not valid.
    """
    verdict = _read(bytes(data))
    if isinstance(verdict, Rules):
        return verdict
    raise RulesError(*verdict)


@lru_cache(_KEPT)
def _read(data: bytes) -> Rules | tuple[str, str]:
    """The rules, or the field that is wrong and why.

    A set is read when it is checked and when it comes into force, in every partition; and who sends it again and again
    should not cost a hundred times what an event costs.
    """
    try:
        decoded = msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return "data", str(error)
    found = _checked(decoded)
    if isinstance(found, list):
        return found[0].field, found[0].reason
    return _labelled(found.scoring, {str(name): action for name, action in found.actions.items()}, decoded)


def problems(decoded: object) -> list[RulesError]:
    """Everything that is wrong with a set of rules; nothing if it is valid.

    A check may hide others: a wrong value those of parameters together, a name those of the whole. So what is wrong is
    taken out of a copy, and the rest is checked again.

    Args:
        decoded: a record's `data`.
    """
    rest, gone = _copied(decoded, _DEPTH), set[str]()
    found = _unknown_names(rest)
    for _ in range(_ROUNDS):
        wrong = _checked(rest)
        if not isinstance(wrong, list):
            break
        # What stands in the place of a wrong value is a default, and says nothing about the set.
        found += [each for each in wrong if not any(f"{each.field}.".startswith(f"{path}.") for path in gone)]
        paths = {each.field for each in wrong} - gone
        if not paths:
            break
        for path in sorted(paths):
            gone |= {path, *_TOGETHER.get(path, ())}
        for path in sorted(gone):
            _take_out(rest, path.split(".")[1:])
    return found


def _unknown_names(rest: object) -> list[RulesError]:
    """Names that no table of parameters has; they are taken out of the set."""
    found: list[RulesError] = []
    scoring = rest.get("scoring") if isinstance(rest, dict) else None
    for table, (what, known) in _NAMES.items():
        given = scoring.get(table) if isinstance(scoring, dict) else None
        if not isinstance(given, dict):
            continue
        for name in [name for name in given if name not in known]:
            near = difflib.get_close_matches(name, known, 1)
            said = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            found.append(RulesError(f"data.scoring.{table}.{name}", f"no such {what}; {said}"))
            del given[name]
    return found


def _copied(value: Any, depth: int) -> Any:
    """A copy of objects within objects, to that depth; what lies deeper is shared."""
    if depth == 0 or not isinstance(value, dict):
        return value
    return {name: _copied(each, depth - 1) for name, each in value.items()}


def _take_out(rest: Any, steps: list[str]) -> None:
    """Remove the value at a path, or the innermost object that has it where it is not one of an object."""
    for i, step in enumerate(steps):
        inside = rest.get(step) if isinstance(rest, dict) else None
        if not isinstance(inside, dict) or i == len(steps) - 1:
            if isinstance(rest, dict):
                rest.pop(step, None)
            return
        rest = inside


def _checked(decoded: object) -> _Set | list[RulesError]:
    """The set, or what is wrong with it."""
    if not isinstance(decoded, dict):
        return [RulesError("data", "not an object")]
    scoring = decoded.get("scoring")
    for name in _NOT_RULES:
        if isinstance(scoring, dict) and name in scoring:
            return [RulesError(f"data.scoring.{name}", "a setting of the workers, not a rule: take it out")]
    try:
        return _Set.model_validate(_strict(decoded), strict=True)
    except ValidationError as error:
        return [_of(each) for each in error.errors(include_url=False, include_input=False)]


def _of(error: ErrorDetails) -> RulesError:
    path = [str(step) for step in error["loc"] if step != "[key]"]
    if error["type"] == "extra_forbidden":
        return RulesError(".".join(["data", *path]), f"no such parameter{_meant(path)}")
    said = error["msg"].removeprefix("Value error, ")
    # The checks of a model name the parameter first.
    if error["type"] == "value_error" and (named := _NAMED.fullmatch(said)):
        path, said = [*path, named[1]], named[2]
    return RulesError(".".join(["data", *path]), said)


def _meant(path: list[str]) -> str:
    """A parameter with a similar name, as a question; "" if there is none."""
    own = Experiment if path[1:2] == ["experiments"] else OwnKind
    models: dict[int, type[BaseModel]] = {1: _Set, 2: ScoringParams, 4: own}
    model = _MODELS.get(path[1]) if len(path) == _OF_MODEL else models.get(len(path))
    known = {} if model is None else model.model_fields
    near = difflib.get_close_matches(path[-1], [name for name in known if name not in _NOT_RULES], 1)
    return f"; did you mean {near[0]}?" if near else ""


def _strict(value: Any) -> Any:
    """JSON as a strict validation of Python objects wants it: tuples for lists, and 3 for 3.0."""
    if isinstance(value, dict):
        return {name: _strict(each) for name, each in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return tuple(map(_strict, value)) if isinstance(value, list) else value


def _labelled(params: ScoringParams, actions: Mapping[str, str], data: object) -> Rules:
    canonical = msgspec.json.encode(data, order="deterministic")
    digest = hashlib.blake2b(canonical, digest_size=_DIGEST_BYTES).hexdigest()
    return Rules(params, dict(actions), canonical, f"{params.name}@{digest}")


def json_schema() -> dict[str, Any]:
    """JSON Schema of `data`."""
    return _Set.model_json_schema()
