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

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxstream.model.features import FEATURES, SPECS, Feature
from cxstream.model.parameters import MINUTE_MS, ScoringParams

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGEST_BYTES = 4
_NOT_RULES = frozenset({"max_record_bytes"})
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
    if not isinstance(decoded, dict):
        raise RulesError("data", "not an object")
    scoring = decoded.get("scoring")
    for name in _NOT_RULES:
        if isinstance(scoring, dict) and name in scoring:
            raise RulesError(f"data.scoring.{name}", "a setting of the workers, not a rule")
    try:
        found = _Set.model_validate(_tuples(decoded), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(["data", *map(str, first["loc"])])
        raise RulesError(path, first["msg"].removeprefix("Value error, ")) from error
    return _labelled(found.scoring, {str(name): action for name, action in found.actions.items()}, decoded)


def _tuples(value: Any) -> Any:
    """JSON with tuples instead of lists, as a strict validation of Python objects wants them."""
    if isinstance(value, dict):
        return {name: _tuples(each) for name, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _labelled(params: ScoringParams, actions: Mapping[str, str], data: object) -> Rules:
    canonical = msgspec.json.encode(data, order="deterministic")
    digest = hashlib.blake2b(canonical, digest_size=_DIGEST_BYTES).hexdigest()
    return Rules(params, dict(actions), canonical, f"{params.name}@{digest}")


def json_schema() -> dict[str, Any]:
    """JSON Schema of `data`."""
    return _Set.model_json_schema()
