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
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxstream.model.features import FEATURES, SPECS, Feature
from cxstream.model.parameters import MINUTE_MS, OwnKind, ScoringParams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

_DIGEST_BYTES = 4
_NOT_RULES = frozenset({"max_record_bytes"})
_NAMED = re.compile(r"([a-z]\w*): (.*)", re.DOTALL)
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
        "scoring": params.model_dump(mode="json", exclude=set(_NOT_RULES)),
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
    try:
        decoded = msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RulesError("data", str(error)) from error
    found = _checked(decoded)
    if isinstance(found, list):
        raise found[0]
    return _labelled(found.scoring, {str(name): action for name, action in found.actions.items()}, decoded)


def problems(decoded: object) -> list[RulesError]:
    """Everything that is wrong with a set of rules; nothing if it is valid.

    Args:
        decoded: a record's `data`.
    """
    found = _checked(decoded)
    return found if isinstance(found, list) else []


def _checked(decoded: object) -> _Set | list[RulesError]:
    """The set, or what is wrong with it."""
    if not isinstance(decoded, dict):
        return [RulesError("data", "not an object")]
    scoring = decoded.get("scoring")
    for name in _NOT_RULES:
        if isinstance(scoring, dict) and name in scoring:
            return [RulesError(f"data.scoring.{name}", "a setting of the workers, not a rule")]
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
    models: dict[int, type[BaseModel]] = {1: _Set, 2: ScoringParams, 4: OwnKind}
    known = models[len(path)].model_fields if len(path) in models else {}
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
