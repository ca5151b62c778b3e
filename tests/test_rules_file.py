"""Sets of rules in files, what differs between two, and how they are shown."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cxstream.cli.rules import command
from cxstream.model.errors import InputError
from cxstream.model.features import FEATURES, FIRST_FEATURES
from cxstream.model.parameters import ScoringParams
from cxstream.model.rules import read_rules, rules_of
from cxstream.rules.difference import Change, changes
from cxstream.rules.file import read_file
from cxstream.rules.show import as_toml
from cxstream.settings import ACTIONS, Settings
from strategies import PARAMS

GOOD = """
[scoring]
name = "spring-1"
thresholds = [0.3, 0.5, 0.7]

[scoring.coefficients]
complaint = 1.8

[scoring.kinds.parcel_lost]
effort = 4
mood = -3
requires = ["order_id"]
description = "The parcel is lost."

[actions]
complaint = "call today"
"""


def write(folder: Path, text: str, name: str = "rules.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_default_is_a_churn_risk_of_30_days() -> None:
    params = ScoringParams()
    assert params.churn_horizon_days == 30
    odds = params.intercept + sum(params.coefficients[name] * x for name, x in params.typical.items())
    # A typical customer is not among the 3% who leave.
    assert 0.005 < 1 / (1 + math.exp(-odds)) < params.thresholds[0]
    assert not params.has_own_risk


def test_rules_of_the_version_before_are_an_example() -> None:
    before = read_file(Path(__file__).parents[1] / "examples" / "default-1.toml")
    # The risk is that of the version; half-widths and the digest are those of today.
    assert rules_of(before.params, ACTIONS).label == "default-1@b9471727"
    assert before.params.has_own_risk


@pytest.mark.parametrize(
    ("given", "days"),
    [
        ({}, 30),
        ({"thresholds": (0.1, 0.2, 0.3)}, 30),
        ({"intercept": -3.0}, None),
        ({"coefficients": {"effort": 2.0}}, None),
        ({"coefficients": {"effort": 2.0}, "churn_horizon_days": 7}, 7),
    ],
)
def test_the_horizon_is_that_of_the_coefficients(given: dict[str, Any], days: int | None) -> None:
    params = ScoringParams.model_validate(given)
    assert params.churn_horizon_days == days
    assert read_rules(rules_of(params, ACTIONS).data).params == params
    assert Settings(scoring=given).scoring == params  # type: ignore[arg-type]


def test_settings_that_name_all_coefficients_of_the_first_version_are_complete() -> None:
    given = {"coefficients": dict.fromkeys(FIRST_FEATURES, 1.0)}
    scoring = Settings(scoring=given).scoring  # type: ignore[arg-type]
    assert scoring == ScoringParams.model_validate(given)
    assert scoring.coefficients == {name: float(name in FIRST_FEATURES) for name in FEATURES}


def test_toml_and_json_are_the_same_set(tmp_path: Path) -> None:
    toml = read_file(write(tmp_path, GOOD))
    assert toml.params.kinds["parcel_lost"].effort == 4
    assert toml.params.coefficients["effort"] == ScoringParams().coefficients["effort"]
    assert toml.actions == {**ACTIONS, "complaint": "call today"}
    assert toml.label.startswith("spring-1@")
    as_json = write(tmp_path, toml.data.decode(), "rules.json")
    assert read_file(as_json) == toml
    # What a set does not name has its default: the same set as with the defaults written down.
    assert toml == rules_of(toml.params, toml.actions)


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_a_set_that_is_shown_as_toml_can_be_read(params: ScoringParams, tmp_path: Path) -> None:
    rules = rules_of(params, ACTIONS)
    assert read_file(write(tmp_path, as_toml(rules))) == rules


def test_text_survives_toml(tmp_path: Path) -> None:
    said = 'a "quoted" \\ text\twith\nlines, \x7f, 0x01 \x01 and żółć \U0001f600'
    params = ScoringParams.model_validate({"kinds": {"odd": {"description": said}}})
    rules = rules_of(params, {**ACTIONS, "effort": said})
    assert read_file(write(tmp_path, as_toml(rules))) == rules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[scoring]\nwinow_days = 3\n",
            ":2: scoring.winow_days: no such parameter; did you mean window_days?",
        ),
        ("[scoring]\n\nwindow_days = 0\n", ":3: scoring.window_days: Input should be greater"),
        ("[scoring]\nname = 'x'\n[scoring.kinds.lost]\nefort = 1\n", ":4: scoring.kinds.lost.efort: no such"),
        ("[scoring.kinds]\nlost = { efort = 1 }\n", ":2: scoring.kinds.lost.efort: no such parameter"),
        ("[scoring.kinds.error]\neffort = 1\n", ":1: scoring.kinds.error: a built-in kind"),
        ("[scoring]\nwindow_days = \n", ":2: is not TOML"),
        ("[scoring]\nmax_record_bytes = 2000\n", ":2: scoring.max_record_bytes: a setting of the workers"),
        ("[worker]\ngroup = 'x'\n", ":1: worker: a section of the settings, not of rules"),
        ("[scorin]\n", ":1: scorin: no such section"),
        ("[actions]\neffrt = 'x'\n", ":2: actions.effrt"),
        ("[scoring]\nthresholds = [0.5, 0.4, 0.9]\n", ":2: scoring.thresholds: must rise"),
        ("scoring = 3\n", ":1: scoring: Input should be"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as raised:
        read_file(path)
    assert str(raised.value).startswith(f"{path}{said}")


ALL_WRONG = """[worker]
group = "x"
[scoring]
winow_days = 3
max_record_bytes = 3
thresholds = [0.5, 0.4, 0.9]
base_currency = "EURO"
[scoring.rates]
EUR = 2
[scoring.points]
clik = { effort = 1 }
error = { effort = -1 }
[scoring.coefficients]
efort = 1
[scoring.kinds.click]
[scoring.kinds.error]
[scoring.kinds.lost]
requires = ["amont", "foo"]
efort = 3
[actions]
effrt = "x"
"""


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, ALL_WRONG)
    with pytest.raises(InputError) as raised:
        read_file(path)
    lines = str(raised.value).splitlines()
    assert [line.removeprefix(f"{path}:").split(": ")[:2] for line in lines] == [
        ["1", "worker"],
        ["4", "scoring.winow_days"],
        ["5", "scoring.max_record_bytes"],
        ["6", "scoring.thresholds"],
        ["7", "scoring.base_currency"],
        ["11", "scoring.points.clik"],
        ["12", "scoring.points.error.effort"],
        ["14", "scoring.coefficients.efort"],
        ["15", "scoring.kinds.click"],
        ["16", "scoring.kinds.error"],
        ["18", "scoring.kinds.lost.requires"],
        ["19", "scoring.kinds.lost.efort"],
        ["21", "actions.effrt"],
    ]
    assert "unknown fields 'amont', 'foo'" in str(raised.value)
    assert "did you mean click?" in str(raised.value)


def test_what_is_told_is_bounded(tmp_path: Path) -> None:
    path = write(tmp_path, "[scoring]\n" + "".join(f"wrong_{i} = 1\n" for i in range(500)))
    with pytest.raises(InputError) as raised:
        read_file(path)
    lines = str(raised.value).splitlines()
    assert (len(lines), lines[-1]) == (21, "... and 480 more problems")
    path = write(
        tmp_path, "[scoring]\n" + '"\\u001b[31m\\n' + "x" * 100_000 + '" = 1\n[scoring.kinds.error]\n'
    )
    with pytest.raises(InputError) as raised:
        read_file(path)
    assert len(str(raised.value)) < 2000
    assert str(raised.value).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"scoring": {\n "winow_days": 3}}', ":2: scoring.winow_days: no such parameter"),
        ('{"scoring": {\n "window_days": 3,}}', ":2: is not JSON"),
        ("[]", ": not an object"),
        ('{"scoring":{},\n"x":1}', ":2: x: no such section"),
    ],
    ids=str,
)
def test_what_is_wrong_in_json_is_told_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, text, "rules.json")
    with pytest.raises(InputError) as raised:
        read_file(path)
    assert str(raised.value).startswith(f"{path}{said}")


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    with pytest.raises(InputError, match="cannot be read"):
        read_file(path)
    path.write_bytes(b"[scoring]\nname = '\xff'\n")
    with pytest.raises(InputError, match=":2: not UTF-8"):
        read_file(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_file(tmp_path)


def test_a_set_that_could_not_be_signed_is_refused(tmp_path: Path) -> None:
    kinds = "".join(f"[scoring.kinds.k{i}]\ndescription = '{'x' * 900}'\n" for i in range(80))
    with pytest.raises(InputError, match="shorten the descriptions"):
        read_file(write(tmp_path, kinds))


def test_changes_name_parameters(tmp_path: Path) -> None:
    before, after = rules_of(ScoringParams(), ACTIONS), read_file(write(tmp_path, GOOD))
    found = {each.parameter: (each.before, each.after) for each in changes(before, after)}
    lost = found.pop("scoring.kinds.parcel_lost")
    assert found == {
        "scoring.name": ('"default-2"', '"spring-1"'),
        "scoring.thresholds": ("[0.055,0.16,0.39]", "[0.3,0.5,0.7]"),
        "scoring.coefficients.complaint": ("0.0", "1.8"),
        # Nobody knows one of these coefficients.
        "scoring.churn_horizon_days": ("30", None),
        "actions.complaint": (json.dumps(ACTIONS["complaint"], ensure_ascii=False), '"call today"'),
    }
    assert lost[0] is None
    assert lost[1] is not None
    assert '"order_id"' in lost[1]
    assert changes(after, after) == []
    assert Change("scoring.name", '"spring-1"', '"default-2"') in changes(after, before)


def test_check_says_whether_a_file_is_valid(tmp_path: Path) -> None:
    good = CliRunner().invoke(command, ["check", str(write(tmp_path, GOOD))])
    assert good.exit_code == 0, good.output
    assert "a valid set of rules, spring-1@" in good.output
    assert "1 kind of your own" in good.output
    bad = CliRunner().invoke(command, ["check", str(write(tmp_path, "[scoring]\nx = 1\n"))])
    assert bad.exit_code != 0
    assert isinstance(bad.exception, InputError)
