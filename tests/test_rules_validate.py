"""Sets of rules, and touchpoints of kinds of the company's own, before they are sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from cxstream.cli.validate import command
from cxstream.rejected.explain import check
from cxstream.scoring.codec.vocabulary import vocabulary
from cxstream.wire.examples import example_rules
from strategies import PARAMS
from workers import touchpoint

if TYPE_CHECKING:
    from pathlib import Path

RULES = """
[scoring.kinds.parcel_lost]
effort = 4
requires = ["order_id"]
"""


def validate(folder: Path, records: list[Any], *options: str) -> list[dict[str, Any]]:
    """Every problem that is found."""
    file = folder / "in.ndjson"
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in records]
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    done = CliRunner().invoke(command, [str(file), "--json", *options], catch_exceptions=False)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_problem_of_a_set_of_rules_is_found(tmp_path: Path) -> None:
    good = example_rules()
    scoring = {"winow_days": 3, "acute_threshold": 0, "kinds": {"error": {}}}
    bad = {**good, "time": "yesterday", "data": {"scoring": scoring}}
    assert validate(tmp_path, [good]) == []
    found = {each["field"]: each for each in validate(tmp_path, [bad])}
    assert set(found) == {
        "time",
        "data.scoring.winow_days",
        "data.scoring.acute_threshold",
        "data.scoring.kinds.error",
    }
    assert "did you mean window_days?" in found["data.scoring.winow_days"]["message"]
    for wrong in ([], None, "x"):
        assert {each["field"] for each in validate(tmp_path, [{**good, "data": wrong}])} == {"data"}
    del bad["data"]
    assert {each["field"] for each in validate(tmp_path, [bad])} == {"time", "data"}


def test_kinds_of_the_company_are_valid_if_the_rules_name_them(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    records = [touchpoint("c", 1, "parcel_lost", order_id="o"), touchpoint("c", 2, "parcel_lost")]
    [missing] = validate(tmp_path, records, "--rules", str(rules))
    assert (missing["line"], missing["field"]) == (2, "data.order_id")
    assert missing["message"].endswith("for kind parcel_lost")
    first, second = validate(tmp_path, records)
    assert first["field"] == second["field"] == "type"
    assert "a kind of your own must be in the rules first, as [scoring.kinds.parcel_lost]" in first["message"]


def test_a_misspelled_kind_is_guessed_first(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    [own] = validate(tmp_path, [touchpoint("c", 1, "parcel_lsot", order_id="o")], "--rules", str(rules))
    assert own["meant"] == '"cx.touchpoint.parcel_lost.v1"'
    [built_in] = validate(tmp_path, [touchpoint("c", 1, "page_veiw")])
    assert built_in["meant"] == '"cx.touchpoint.page_view.v1"'


def test_rejected_records_are_explained_by_the_rules() -> None:
    known = vocabulary(PARAMS["own"].kinds)
    record = touchpoint("c", 1, "parcel_lost", order_id="o")
    assert [each.field for each in check(record, [], b"c")] == ["type"]
    assert check(record, [], b"c", vocabulary=known) == []
    [missing] = check(touchpoint("c", 1, "parcel_lost"), [], b"c", vocabulary=known)
    assert missing.field == "data.order_id"


def test_kinds_are_valid_after_a_set_of_rules_in_the_file(tmp_path: Path) -> None:
    rules = example_rules()
    later = {**rules, "id": "2", "time": "2025-03-02T00:00:00Z", "data": {"scoring": {"name": "none"}}}
    future = {**later, "id": "3", "time": "2999-01-01T00:00:00Z"}
    own = [touchpoint("c", i, "parcel_lost", order_id="o") for i in range(4)]
    found = validate(tmp_path, [own[0], rules, own[1], future, own[2], later, own[3]])
    assert [(each["line"], each["field"]) for each in found] == [(1, "type"), (4, "time"), (7, "type")]
