"""The JSON Schema of rules and what reads them agree on every set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cxstream.cli.schemas import command
from cxstream.model.fields import Data
from cxstream.model.parameters import OwnKind, ScoringParams
from cxstream.model.rules import RulesError, problems, read_rules, rules_of
from cxstream.scoring.codec.decode import decode
from cxstream.scoring.codec.vocabulary import vocabulary
from cxstream.settings import ACTIONS
from cxstream.wire import schema
from cxstream.wire.rules import data_schema

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = Draft202012Validator(data_schema())
WHOLE = json.loads(
    rules_of(ScoringParams.model_validate({"kinds": {"parcel_lost": {"effort": 4}}}), ACTIONS).data
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 400),
    st.sampled_from(
        [
            0.5,
            -0.5,
            3.0,
            90.0,
            1e6,
            1e9,
            1e300,
            -1e7,
            2**60,
            "",
            "window",
            "recent",
            "amount",
            "a b",
            "x\n",
            "A",
        ]
    ),
    st.text(max_size=3),
)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.lists(st.floats(0, 1), min_size=3, max_size=3).map(sorted),
    st.dictionaries(st.sampled_from(["effort", "mood", "company", "requires", "x"]), scalars, max_size=2),
)
names = st.sampled_from(
    [
        "parcel_lost",
        "gift",
        "error",
        "Gift",
        "a b",
        "gift\n",
        "effort",
        "lapse",
        "max_record_bytes",
        "name",
        "x",
    ]
)


def places(node: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, value in node.items() if isinstance(node, dict) else ():
        found += places(value, (*path, name))
    return found


PLACES = places(WHOLE)[1:]


@st.composite
def sets(draw: st.DrawFn) -> Any:
    """The whole default set, or little of it, with some values changed, removed and added."""
    found = json.loads(json.dumps(WHOLE)) if draw(st.booleans()) else {"scoring": {}}
    for _ in range(draw(st.integers(0, 3))):
        *above, name = draw(st.sampled_from(PLACES))
        inside = found
        for step in above:
            inside = inside.setdefault(step, {}) if isinstance(inside, dict) else {}
        if not isinstance(inside, dict):
            continue
        action = draw(st.integers(0, 2))
        if action == 0:
            inside[name] = draw(values)
        elif action == 1:
            inside.pop(name, None)
        else:
            inside[draw(names)] = draw(values)
    return found


def is_read(data: Any) -> bool:
    found = problems(data)
    try:
        read_rules(json.dumps(data).encode())
    except RulesError:
        # What one parameter says of another is no matter of the schema.
        beyond = [each for each in found if "must rise" in each.reason or "must not exceed" in each.reason]
        return found == beyond
    return not found


@given(sets())
@settings(max_examples=500, deadline=None)
def test_schema_and_reader_agree(data: Any) -> None:
    assert is_read(data) == SCHEMA.is_valid(data), list(SCHEMA.iter_errors(data))[:3]


@pytest.mark.parametrize(
    ("scoring", "field", "words"),
    [
        ({"winow_days": 1}, "data.scoring.winow_days", "did you mean window_days?"),
        ({"kinds": {"x": {"efort": 1}}}, "data.scoring.kinds.x.efort", "did you mean effort?"),
        ({"max_record_bytes": 9999}, "data.scoring.max_record_bytes", "a setting of the workers"),
        ({"kinds": {"error": {}}}, "data.scoring.kinds.error", "a built-in kind"),
        ({"kinds": {"x": {"requires": ["amont"]}}}, "data.scoring.kinds.x.requires", "unknown field 'amont'"),
        ({"window_days": "9"}, "data.scoring.window_days", "integer"),
        ({"text_model": {"name": "en-pl-1"}}, "data.scoring.text_model.digest", "required"),
        (
            {"text_model": {"name": "en-pl-1", "digest": "d45cdb42", "language": []}},
            "data.scoring.text_model.language",
            "did you mean languages?",
        ),
        ({"window_days": 5}, "data.scoring.surge_days", "must not exceed window_days"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(scoring: dict[str, Any], field: str, words: str) -> None:
    [found] = problems({"scoring": scoring})
    assert found.field == field
    assert words in found.reason


def test_all_that_is_wrong_is_found() -> None:
    found = problems({"scoring": {"window_days": "9", "acute_threshold": -1}, "aktions": {}})
    assert {each.field for each in found} == {
        "data.scoring.window_days",
        "data.scoring.acute_threshold",
        "data.aktions",
    }


def test_what_one_problem_hides_is_found_and_nothing_else() -> None:
    kinds = {name: {} for name in ("error", "click", "search")}
    found = problems({"scoring": {"window_days": 0, "surge_days": 9, "kinds": kinds, "points": {"eror": {}}}})
    assert {each.field for each in found} == {
        "data.scoring.window_days",
        *(f"data.scoring.kinds.{name}" for name in kinds),
        "data.scoring.points.eror",
    }
    # A default in the place of the base currency says nothing of its rates.
    [only] = problems({"scoring": {"base_currency": "?", "rates": {"EUR": 2}}})
    assert only.field == "data.scoring.base_currency"


def test_a_set_that_comes_again_has_the_same_verdict() -> None:
    for _ in range(3):
        with pytest.raises(RulesError) as refused:
            read_rules(b'{"scoring":{"window_days":0}}')
        assert refused.value.field == "data.scoring.window_days"
    again = [read_rules(b'{"scoring":{"name":"x"}}') for _ in range(2)]
    assert again[0] is again[1]


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert read_rules(b'{"scoring":{"window_days":30.0}}').params.window_days == 30


def test_kinds_of_the_company_have_schemas_that_agree_with_the_decoder() -> None:
    requires = [name for name in Data.__struct_fields__ if name != "channel"]
    kinds = {
        "everything": OwnKind(requires=tuple(requires)),
        "parcel_lost": OwnKind(
            effort=4, requires=("order_id", "late_days"), description="Lost by the carrier."
        ),
        "plain": OwnKind(),
    }
    known = vocabulary(kinds)
    found = schema.documents(kinds)
    assert set(found) - set(schema.documents()) == {f"touchpoints/{name}.v1.json" for name in kinds}
    assert found["touchpoints/parcel_lost.v1.json"]["description"] == "Lost by the carrier."
    for name, kind in kinds.items():
        document = found[f"touchpoints/{name}.v1.json"]
        Draft202012Validator.check_schema(document)
        [example] = document["examples"]
        cases = [
            example,
            *({**example, "data": without(example["data"], field)} for field in example["data"]),
        ]
        cases += [{**example, "data": {**example["data"], field: None}} for field in kind.requires]
        for case in cases:
            decoded = decode([json.dumps(case).encode()], vocabulary=known)
            assert Draft202012Validator(document).is_valid(case) == (not decoded.rejected), case
        assert not decode([json.dumps(example).encode()], vocabulary=known).rejected


def without(data: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != field}


def test_schemas_of_kinds_in_a_file_are_written_and_checked(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("[scoring.kinds.parcel_lost]\neffort = 4\n")
    out = tmp_path / "schemas"
    for options in (["--out", out], ["--check", out]):
        done = CliRunner().invoke(command, [str(each) for each in (*options, "--rules", rules)])
        assert done.exit_code == 0, done.output
    assert (out / "touchpoints" / "parcel_lost.v1.json").exists()
    document = json.loads((out / "asyncapi.json").read_text())
    assert "parcel_lost" in document["channels"]["touchpoints"]["messages"]
    assert CliRunner().invoke(command, ["--check", str(out)]).exit_code == 1
