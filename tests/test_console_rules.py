"""The page Rules: what the settings say, and whether that is what judged the data."""

from __future__ import annotations

import csv
import io
from math import exp
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from console_app import console, read, warehouse
from cxstream.console.language import language
from cxstream.console.pages import rules
from cxstream.model.features import FEATURES, SPECS
from cxstream.model.parameters import ScoringParams
from cxstream.model.rules import read_rules, rules_of
from cxstream.model.text import DIGESTS
from cxstream.rules.difference import changes
from cxstream.settings import Settings
from view_rows import made_up, touchpoint

if TYPE_CHECKING:
    from pathlib import Path

ROWS = made_up(4, 60, 5)
LABEL = rules_of(Settings().scoring, Settings().actions).label


def table(html: str, head: str) -> list[list[str]]:
    return next(each for each in read(html).tables if each[0][0] == head)[1:]


@pytest.mark.parametrize(
    ("model", "said"), [(LABEL, "is in force"), ("other-2@00000000", "which are not in force")]
)
async def test_rules_are_in_force_if_they_judged_the_latest_touchpoint(
    tmp_path: Path, model: str, said: str
) -> None:
    rows = [{**row, "model": "old-1@11111111"} for row in ROWS]
    last = max(row["time"] for row in rows)
    path = warehouse(
        tmp_path / "w.duckdb", [*rows, touchpoint(offset=999, time=last, partition=7, model=model)]
    )
    async with console(path) as client:
        page = (await client.get("/rules")).text
        assert said in read(page).text
        assert {row[0] for row in table(page, "Rules")} == {"old-1@11111111", model}
        answer = (await client.get("/api/v1/rules")).json()
        assert answer["settings"] == LABEL
        assert sum(row["touchpoints"] for row in answer["judged"]) == len(rows) + 1


async def test_what_the_rules_say_is_what_the_engine_takes(tmp_path: Path) -> None:
    path = warehouse(tmp_path / "w.duckdb", ROWS)
    async with console(path) as client:
        page = (await client.get("/rules")).text
        found = {row[0]: row for row in table(page, "Reason")}
        assert len(found) == len(FEATURES)
        assert found["Dissatisfied"][2] == f"{SPECS['dissatisfaction'].coefficient:.2f}"
        assert (
            found["Dissatisfied"][4]
            == f"\N{MULTIPLICATION SIGN}{exp(SPECS['dissatisfaction'].coefficient):.1f}"
        )
        points = {row[0]: row for row in table(page, "Kind")}
        given = ScoringParams().points["complaint_opened"]
        assert points["Complaint opened"][1] == f"{given.effort:.1f}"
        assert points["Complaint opened"][3] == f"\N{MINUS SIGN}{-given.mood:.1f}"
        assert [row[1] for row in table(page, "Level")] == [
            f"{share:.3f}" for share in reversed(ScoringParams().thresholds)
        ]
        lines = list(csv.DictReader(io.StringIO((await client.get("/rules.csv")).text)))
        assert not [line for line in lines if line["changed"] == "true"]
        # What the API tells can be put in force again.
        data = (await client.get("/api/v1/rules")).json()["data"]
        import msgspec

        again = read_rules(msgspec.json.encode(data))
        assert changes(again, rules_of(Settings().scoring, Settings().actions)) == []


async def test_the_page_names_what_differs_from_the_defaults_and_the_experiments(tmp_path: Path) -> None:
    path = warehouse(tmp_path / "w.duckdb", ROWS)
    scoring = {
        "name": "ours",
        "coefficients": {"effort": 2.25},
        "points": {"cart_abandoned": {"effort": 1, "mood": -0.25}, "error": {"effort": 2, "mood": -1.125}},
        "kinds": {"parcel_lost": {"effort": 4, "mood": -3}},
        "experiments": {"callback": {"holdout": 0.125, "levels": ["high", "critical"], "salt": "s"}},
    }
    async with console(path, {"scoring": scoring}) as client:
        page = (await client.get("/rules")).text
        rows = {row[0]: row[1:] for row in table(page, "Parameter")}
    wanted = changes(
        rules_of(ScoringParams(), Settings().actions),
        rules_of(Settings(scoring=scoring).scoring, Settings().actions),  # type: ignore[arg-type]
    )
    assert list(rows) == [each.parameter for each in wanted]
    assert rows["scoring.coefficients.effort"] == [
        "High effort",
        str(ScoringParams().coefficients["effort"]),
        "2.25",
    ]
    assert rows["scoring.points.error.mood"] == ["Error", "-1.0", "-1.125"]
    assert rows["scoring.kinds.parcel_lost"][1] == "\N{EN DASH}"
    assert f"{len(wanted)} parameters differ from the defaults." in read(page).text
    assert table(page, "Experiment") == [["callback", "high, critical", "12.5%"]]
    # A rule is not rounded to another.
    moods = {row[0].split(" was")[0].removesuffix("was"): row[3] for row in table(page, "Kind")}
    assert [
        next(each for kind, each in moods.items() if kind.startswith(name))
        for name in ("Cart abandoned", "Error")
    ] == ["\N{MINUS SIGN}0.25", "\N{MINUS SIGN}1.125"]
    async with console(path) as client:
        page = (await client.get("/rules")).text
    assert "Parameter" not in [each[0][0] for each in read(page).tables]
    assert "None: nobody is held out." in read(page).text


async def test_the_text_model_of_the_rules_is_named(tmp_path: Path) -> None:
    path = warehouse(tmp_path / "w.duckdb", ROWS)
    model = {"name": "en-pl-1", "digest": DIGESTS["en-pl-1"], "languages": ["pl"]}
    for scoring, said in (
        ({}, "no text model reads the others"),
        ({"text_model": model}, f"text model en-pl-1, weights {model['digest']}, for pl"),
    ):
        async with console(path, {"scoring": scoring}) as client:
            assert said in read((await client.get("/rules")).text).text


@given(value=st.floats(-1e6, 1e6), least=st.integers(0, 2))
@example(value=1e-7, least=0)
@example(value=2.0**-24, least=0)
@example(value=120.0, least=0)
@example(value=0.0, least=1)
def test_a_parameter_is_shown_with_all_its_digits(value: float, least: int) -> None:
    text = rules._exact(language("en"), value, least=least)
    assert float(text.replace(",", "").replace("\N{MINUS SIGN}", "-")) == value
    decimals = text.partition(".")[2]
    assert len(decimals) >= least
    assert len(decimals) <= least or not decimals.endswith("0")
