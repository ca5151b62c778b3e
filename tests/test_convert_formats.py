"""Formats of times: the same on every computer, refused where they would be read as something else in silence."""

# ruff: noqa: DTZ001, DTZ007 - times without a zone are what is tested

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.cli.convert import command
from cxstream.convert.formats import reader, swapped
from cxstream.convert.mapping import load
from cxstream.convert.times import LocalClock, parser
from cxstream.convert.zones import ZoneNames, zone
from cxstream.model.errors import InputError
from cxstream.model.rfc3339 import rfc3339

CASES = Path(__file__).parent / "cases/times"
BERLIN = "Europe/Berlin"


def read(form: str, value: object, home: str = BERLIN, **own: str) -> str:
    return rfc3339(parser(form, LocalClock(home, Counter()), ZoneNames(own, zone(home)))(value))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mapping(here: Path, time: str) -> None:
    (here / "m.toml").write_text(
        '[[event]]\nkind = "error"\nsource = "s"\nsubject = { column = "customer" }\n'
        f'time = {{ column = "at", {time} }}\ndata = {{ channel = "web" }}\n'
    )


def convert(here: Path, values: list[str], time: str, *more: str) -> Result:
    mapping(here, time)
    (here / "in.csv").write_text("customer,at\n" + "".join(f'c,"{value}"\n' for value in values))
    args = ["mapping", "in.csv", "--mapping", "m.toml", "--out", "out.ndjson", *more]
    return CliRunner().invoke(command, args)


def times(here: Path) -> list[str]:
    return [json.loads(line)["time"] for line in (here / "out.ndjson").read_bytes().splitlines()]


# --- against the standard library


@settings(deadline=None)
@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)),
    st.sampled_from(
        [
            "%Y-%m-%d %H:%M:%S.%f", "%d/%m/%y %I:%M:%S %p", "%b %d, %Y %H:%M", "%A, %d. %B %Y", "%Y%j %H",
            "%a %b %d %H:%M:%S %Y", "%c", "%G-W%V-%u", "%m-%d-%Y%%",
        ]
    ),
)  # fmt: skip
def test_a_format_reads_what_strptime_reads(at: datetime, form: str) -> None:
    text = at.strftime(form)
    assert reader(form)(text).local == datetime.strptime(text, form)


# --- what exports write


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("iso", "2025-07-01t10:00:00z", "2025-07-01T10:00:00.000Z"),
        ("iso", "2025-07-01 10:00:00.123 UTC", "2025-07-01T10:00:00.123Z"),
        ("iso", "2025-07-01 10:00:00.123+00", "2025-07-01T10:00:00.123Z"),
        ("iso", "2025-07-01 10:00:00 +0200", "2025-07-01T08:00:00.000Z"),
        ("iso", "2025-07-01T10:00:00.000+0000", "2025-07-01T10:00:00.000Z"),
        ("iso", "2025-07-01T10:00:00,5Z", "2025-07-01T10:00:00.500Z"),
        ("iso", "2025-07-01T10:00:00.123456789Z", "2025-07-01T10:00:00.123Z"),
        ("iso", "2025-07-01T24:00:00Z", "2025-07-02T00:00:00.000Z"),
        ("iso", "2025-07-01T10:00:00.000Z[UTC]", "2025-07-01T10:00:00.000Z"),
        ("iso", "2025-07-01+02:00", "2025-06-30T22:00:00.000Z"),
        ("%d.%m.%Y %H:%M", "01.07.2025 24:00", "2025-07-01T22:00:00.000Z"),
        ("%m/%d/%Y %I:%M %p", "07/01/2025 12:00 AM", "2025-06-30T22:00:00.000Z"),
        ("%m/%d/%Y %I:%M %p", "07/01/2025 12:30 p.m.", "2025-07-01T10:30:00.000Z"),
        ("%Y-%m-%dT%H:%M:%SZ", "2025-07-01t10:00:00z", "2025-07-01T10:00:00.000Z"),
        ("%Y-%m-%dT%H:%M:%S.000Z", "2025-07-01T10:00:00.000Z", "2025-07-01T10:00:00.000Z"),
        ("%Y-%m-%d %H:%M:%S.%f", "2025-07-01 10:00:00.123456789", "2025-07-01T08:00:00.123Z"),
        ("%a %b %d %Y %H:%M:%S GMT%z", "Tue Jul 01 2025 10:00:00 GMT+0200", "2025-07-01T08:00:00.000Z"),
        ("%a, %d %b %Y %H:%M:%S %z", "Tue, 01 Jul 2025 10:00:00 +02:00", "2025-07-01T08:00:00.000Z"),
        ("%F %T", "2025-07-01 10:00:00", "2025-07-01T08:00:00.000Z"),
        ("%-d.%-m.%Y", "1.7.2025", "2025-06-30T22:00:00.000Z"),
        ("%d/%m/%y", "01/07/68", "2068-06-30T22:00:00.000Z"),
        ("%d/%m/%y", "01/07/69", "1969-06-30T23:00:00.000Z"),
        ("%Y%m%d", 20250701, "2025-06-30T22:00:00.000Z"),
        ("epoch_ns", "1751364000123456789", "2025-07-01T10:00:00.123Z"),
        ("epoch_ns", 1751364000123456789, "2025-07-01T10:00:00.123Z"),
        ("epoch_s", "1751364000,5", "2025-07-01T10:00:00.500Z"),
        ("excel", "45839.4166667", "2025-07-01T08:00:00.000Z"),
        ("excel", "45839,4166667", "2025-07-01T08:00:00.000Z"),
        ("excel", 45839.416666666664, "2025-07-01T08:00:00.000Z"),
        ("excel", "45839.41666724537", "2025-07-01T08:00:00.050Z"),
        ("excel", 45839, "2025-06-30T22:00:00.000Z"),
        ("excel", "1", "1899-12-31T23:00:00.000Z"),
        ("excel", "59", "1900-02-27T23:00:00.000Z"),
        ("excel", "61", "1900-02-28T23:00:00.000Z"),
        ("excel_1904", "44377.5", "2025-07-01T10:00:00.000Z"),
    ],
)
def test_times_as_exports_write_them(form: str, value: object, expected: str) -> None:
    assert read(form, value) == expected


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        ("iso", "2025-06-30T23:59:60Z", "second must be in 0..59"),
        ("iso", "2025-07-01T24:00:01Z", "hour must be in 0..23"),
        # The standard library takes the last digits for a time of day, in the year 1712.
        ("iso", "1712011210000", "not an ISO 8601 time"),
        ("iso", "0001-01-01T01:00:00+05:00", "outside the years"),
        ("%d.%m.%Y %H:%M", "01.07.2025 24:01", "nothing later"),
        ("%d.%m.%Y", "31.02.2025", "day is out of range"),
        ("%Y%j", "2025366", "has no day 366"),
        ("epoch_ms", "1.75136E+12", "last 7 digits are lost"),
        ("epoch_ms", "1_751_364_000_000", "not a number"),
        ("excel", "0", "without a date"),
        ("excel", "0.4166", "without a date"),
        ("excel", "60", "29 February 1900"),
        ("excel", "2958466", "no date of Excel"),
        ("excel", "soon", "not a number"),
    ],
)
def test_what_is_no_time_says_why(form: str, value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(form, value)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("%Y-%m-%d %H:%m:%S", "%m is there twice"),
        ("%d.%m. %H:%M", "has no year"),
        ("%d %Y", "has a day and no month"),
        ("%Y-%m-%d %I:%M", "needs %p"),
        ("%Y-%m-%d %H:%M %p", "needs %I"),
        ("%Y-%m-%d %s", "no directive %s"),
        ("%Y %y %d %m", "say the same"),
        ("%G-%V-%u %Z", "%Z cannot"),
        ("dd.MM.yyyy", "has no directive"),
        ("epoch", "epoch_s, epoch_ms"),
        ("%Y-%m-%d %", "no directive %"),
    ],
)
def test_a_format_that_cannot_be_right_is_refused_with_the_mapping(here: Path, form: str, said: str) -> None:
    mapping(here, f'format = "{form}"')
    with pytest.raises(InputError, match=r"m\.toml.*" + said.replace(".", r"\.")):
        load(here / "m.toml")


def test_one_format_at_a_time_or_several_that_differ(here: Path) -> None:
    for time, said in (
        ('format = "iso", formats = ["iso"]', "wants one of"),
        ("formats = []", "names none"),
        ('formats = ["%d/%m/%Y", "%m/%d/%Y"]', "day and month swapped"),
        ('format = "%Y-%m-%d %Z", zones = { EST = "minus five" }', "not an offset"),
    ):
        mapping(here, time)
        with pytest.raises(InputError, match=said):
            load(here / "m.toml")
    values = ["2025-07-01T10:00:00Z", "01.07.2025 10:00", "1751364000"]
    time = 'formats = ["iso", "%d.%m.%Y %H:%M", "epoch_s"], zone = "UTC"'
    assert convert(here, values, time).exit_code == 0
    assert times(here) == ["2025-07-01T10:00:00.000Z"] * 3
    bad = convert(here, [*values, "soon"], time)
    assert "'soon' does not look like any of 'iso', '%d.%m.%Y %H:%M', 'epoch_s'" in bad.stderr


# --- zones


@pytest.mark.parametrize(
    ("name", "home", "expected"),
    [
        ("UTC", "America/New_York", "10:00"),
        ("GMT", "Europe/London", "10:00"),
        ("EST", "America/New_York", "15:00"),
        ("EDT", "America/New_York", "14:00"),
        ("CET", "America/New_York", "09:00"),
        ("cest", "America/New_York", "08:00"),
        ("MSK", "UTC", "07:00"),
        ("CST", "Asia/Shanghai", "02:00"),
        ("CST", "America/Chicago", "16:00"),
        ("CDT", "America/Chicago", "15:00"),
        ("IST", "Asia/Kolkata", "04:30"),
        ("IST", "Asia/Jerusalem", "08:00"),
        ("BST", "Europe/London", "09:00"),
        ("Europe/Paris", "UTC", "08:00"),
    ],
)
def test_names_of_zones(name: str, home: str, expected: str) -> None:
    assert read("%Y-%m-%d %H:%M %Z", f"2025-07-01 10:00 {name}", home) == f"2025-07-01T{expected}:00.000Z"


def test_a_name_of_several_zones_is_refused_and_the_mapping_can_say_which() -> None:
    with pytest.raises(ValueError, match=r"'CST' is the name of several.*zones = \{ CST ="):
        read("%Y-%m-%d %H:%M %Z", "2025-07-01 10:00 CST")
    found = read("%Y-%m-%d %H:%M %Z", "2025-07-01 10:00 CST", CST="+08:00")
    assert found == "2025-07-01T02:00:00.000Z"
    # What the mapping says goes before the table.
    assert read("%Y-%m-%d %H:%M %Z", "2025-07-01 10:00 EST", EST="+10:00") == "2025-07-01T00:00:00.000Z"


def test_the_name_decides_the_hour_that_occurs_twice() -> None:
    form = "%Y-%m-%d %H:%M %Z"
    assert read(form, "2025-10-26 02:30 CEST") == "2025-10-26T00:30:00.000Z"
    assert read(form, "2025-10-26 02:30 CET") == "2025-10-26T01:30:00.000Z"


def test_the_bytes_are_the_same_under_every_zone_of_the_computer(tmp_path: Path) -> None:
    found = []
    for name in ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"):
        out = tmp_path / "out.ndjson"
        args = ["mapping", CASES / "zone.csv", "--mapping", CASES / "zone.toml", "--out", out]
        subprocess.run(
            [sys.executable, "-m", "cxstream", "convert", *args],
            env={**os.environ, "TZ": name},
            check=True,
            capture_output=True,
        )
        found.append(out.read_bytes())
    assert len(set(found)) == 1
    assert [json.loads(line)["time"][11:16] for line in found[0].splitlines()] == [
        "10:00", "10:00", "15:00", "14:00", "09:00",
    ]  # fmt: skip


def test_iso_reads_what_databases_write(here: Path) -> None:
    args = ["mapping", CASES / "iso.csv", "--mapping", CASES / "iso.toml", "--out", here / "out.ndjson"]
    shown = CliRunner().invoke(command, [str(arg) for arg in args])
    read = {json.loads(line)["subject"] for line in (here / "out.ndjson").read_bytes().splitlines()}
    assert read >= {"bigquery", "bigquery2", "lower", "spoff", "h24", "mongodate", "nano", "commafrac"}
    assert "'0000-00-00 00:00:00' stands for no time" in shown.stderr
    assert not read & {"excel", "epoch_ms", "epoch_s", "us", "leap", "zero"}


# --- hints


def test_all_times_in_january_1970(here: Path) -> None:
    args = ["mapping", CASES / "epoch.csv", "--mapping", CASES / "epochms.toml", "--out", here / "out.ndjson"]
    shown = CliRunner().invoke(command, [str(arg) for arg in args])
    assert "all 2 times fall into January 1970" in shown.stderr
    assert 'format = "epoch_s"' in shown.stderr
    real = convert(here, ["1751364000000", "1751364060000"], 'format = "epoch_ms"')
    assert "hint" not in real.stderr


@pytest.mark.parametrize(
    ("value", "time", "better"),
    [
        ("1751364000000", 'format = "epoch_s"', "epoch_ms"),
        ("1751364000000", 'zone = "UTC"', "epoch_ms"),
        ("45839.4166667", 'zone = "UTC"', "excel"),
        ("25.12.2021 10:00", 'zone = "UTC"', "%d.%m.%Y %H:%M"),
        ("25/12/2021", 'format = "%d/%m/%y", zone = "UTC"', "%d/%m/%Y"),
        ("2021-12-25 10:00:00", 'format = "%d.%m.%Y", zone = "UTC"', "iso"),
        ("Tue, 01 Jul 2025 10:00:00 +0200", 'zone = "UTC"', "%a, %d %b %Y %H:%M:%S %z"),
    ],
)
def test_a_format_that_would_read_what_cannot_be_read_is_named(
    here: Path, value: str, time: str, better: str
) -> None:
    shown = convert(here, [value] * 4, time)
    assert shown.exit_code == 1
    assert f'4 of 4 times could not be read; format = "{better}" reads 4' in shown.stderr


def test_day_and_month_swapped_is_noticed_by_the_rows_that_fail(here: Path) -> None:
    values = ["25/12/21", "03/04/21", "05/06/21", "07/07/21", "31/01/21"]
    shown = convert(here, values, 'format = "%m/%d/%y", zone = "UTC"')
    assert shown.exit_code == 3
    assert "2 of 5 times can only be read as '%d/%m/%y', not as '%m/%d/%y'" in shown.stderr
    assert "the 2 times that were read are probably on wrong days" in shown.stderr
    right = convert(here, values, 'format = "%d/%m/%y", zone = "UTC"')
    assert "swapped" not in right.stderr


def test_a_column_that_mixes_both_orders_is_called_that(here: Path) -> None:
    shown = convert(here, ["25/12/21", "12/25/21", "03/04/21"], 'format = "%m/%d/%y", zone = "UTC"')
    assert "the column mixes both orders of day and month" in shown.stderr


@settings(deadline=None)
@given(st.sampled_from(["%d.%m.%Y", "%m/%d/%y %H:%M", "%Y-%m-%d", "%D"]))
def test_swapping_twice_gives_the_format(form: str) -> None:
    there = swapped(form)
    assert there is not None
    back = swapped(there)
    assert back == form.replace("%D", "%m/%d/%y")


# --- placeholders, order, span


@pytest.mark.parametrize(
    "value",
    [
        "0001-01-01", "9999-12-31 23:59:59", "1970-01-01T00:00:00Z", "1900-01-01", "1899-12-30 00:00:00",
        "0000-00-00 00:00:00",
    ],
)  # fmt: skip
def test_placeholders_are_no_times(here: Path, value: str) -> None:
    shown = convert(here, [value, "2025-07-01"], 'zone = "Europe/Berlin"')
    assert f"in.csv:2: at: missing: {value!r} stands for no time" in shown.stderr
    assert times(here) == ["2025-06-30T22:00:00.000Z"]


def test_the_summary_has_the_span_and_names_what_is_out_of_order(here: Path) -> None:
    newest_first = [f"2025-07-{day:02}" for day in range(30, 0, -1)]
    shown = convert(here, newest_first, 'zone = "UTC"')
    assert "first 2025-07-01T00:00:00.000Z" in shown.stderr
    assert "last  2025-07-30T00:00:00.000Z" in shown.stderr
    assert "the events are newest first, by up to 29 days; --sort" in shown.stderr
    mixed = convert(here, ["2025-07-01", "2025-07-05", "2025-07-03", "2025-07-06"], 'zone = "UTC"')
    assert "1 event is older than one before, by up to 2 days; --sort" in mixed.stderr
    in_order = convert(here, newest_first, 'zone = "UTC"', "--sort")
    assert "hint" not in in_order.stderr
    assert times(here) == sorted(times(here))


def test_events_of_the_future_are_pointed_out(here: Path) -> None:
    shown = convert(here, ["2025-07-01", "9998-07-01"], 'zone = "UTC"')
    assert "the last event lies in the future" in shown.stderr
