"""Times of sources: formats, zones, and the two hours of a year that a local clock gets wrong."""

# ruff: noqa: DTZ001, DTZ007 - times without a zone are what is tested

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.convert.times import NEVER, LocalClock, local_parser, parser
from cxstream.model.errors import InputError
from cxstream.model.rfc3339 import rfc3339

WARSAW = "Europe/Warsaw"


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_what_is_written_reads_back_to_the_millisecond(at: datetime) -> None:
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    written = rfc3339(parser("iso", None)(at.isoformat()))
    assert datetime.fromisoformat(written) == at
    assert len(written) == len("2026-03-02T08:14:05.120Z")


@given(
    st.datetimes(datetime(1975, 1, 1), datetime(2037, 12, 30)), st.sampled_from([WARSAW, "America/Sao_Paulo"])
)
def test_a_local_clock_agrees_with_the_standard_library(local: datetime, name: str) -> None:
    local = local.replace(microsecond=0, fold=0)  # texts say nothing of a fold
    clock = LocalClock(name, Counter())
    expected = int(local.replace(tzinfo=ZoneInfo(name)).timestamp()) * 1000
    # The second call answers out of what the first one remembered.
    assert [clock.ms(local), clock.ms(local)] == [expected, expected]


def test_an_hour_that_occurs_twice_is_decided_and_counted() -> None:
    notes: Counter[str] = Counter()
    local = datetime(2025, 10, 26, 2, 30)
    assert LocalClock(WARSAW, notes).ms(local) == ms("2025-10-26T00:30Z")
    assert LocalClock(WARSAW, notes, "later").ms(local) == ms("2025-10-26T01:30Z")
    assert sorted(notes.values()) == [1, 1]


def test_an_hour_that_is_left_out_moves_ahead_and_is_counted() -> None:
    notes: Counter[str] = Counter()
    clock = LocalClock(WARSAW, notes, "later")
    assert clock.ms(datetime(2025, 3, 30, 2, 30)) == ms("2025-03-30T03:30+02:00")
    assert clock.ms(datetime(2025, 3, 30, 2, 40)) == ms("2025-03-30T03:40+02:00")
    assert notes == {NEVER: 2}


def test_a_change_within_an_hour_is_not_remembered_for_all_of_it() -> None:
    # Lord Howe Island goes back by half an hour: from 1:30 to 2:00 its clocks pass twice.
    notes: Counter[str] = Counter()
    clock = LocalClock("Australia/Lord_Howe", notes)
    assert clock.ms(datetime(2025, 4, 6, 1, 10)) == ms("2025-04-06T01:10+11:00")
    assert clock.ms(datetime(2025, 4, 6, 1, 40)) == ms("2025-04-06T01:40+11:00")
    assert sum(notes.values()) == 1


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("iso", "2026-03-02T08:14:05.1239Z", "2026-03-02T08:14:05.123Z"),
        ("iso", "2026-03-02 09:14+01:00", "2026-03-02T08:14:00.000Z"),
        ("iso", "2026-03-02T12:00", "2026-03-02T11:00:00.000Z"),
        ("iso", "2026-07-02", "2026-07-01T22:00:00.000Z"),
        ("%Y%m%d", "20260302", "2026-03-01T23:00:00.000Z"),
        ("%d.%m.%Y %H:%M", "2.3.2026 7:05", "2026-03-02T06:05:00.000Z"),
        ("%d %b %Y", "02 Mar 2026", "2026-03-01T23:00:00.000Z"),
        ("%d/%m/%y", "02/03/26", "2026-03-01T23:00:00.000Z"),
        ("%Y-%m-%d %H:%M %z", "2026-03-02 08:00 +0300", "2026-03-02T05:00:00.000Z"),
        ("epoch_s", "1772439245", "2026-03-02T08:14:05.000Z"),
        ("epoch_s", 1772439245.1239, "2026-03-02T08:14:05.123Z"),
        ("epoch_ms", 1772439245123, "2026-03-02T08:14:05.123Z"),
        ("epoch_us", "1772439245123999", "2026-03-02T08:14:05.123Z"),
        ("epoch_ms", "-1", "1969-12-31T23:59:59.999Z"),
    ],
)
def test_formats(form: str, value: object, expected: str) -> None:
    assert rfc3339(parser(form, LocalClock(WARSAW, Counter()))(value)) == expected


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("iso", "yesterday"),
        ("iso", 1772439245),
        ("iso", "2026-02-30"),
        ("%Y%m%d", "20260230"),
        ("%Y%m%d", "20261301"),
        ("%Y%m%d", "20260302 8:00"),
        ("%d %b %Y", "2 Brz 2026"),
        ("epoch_s", "soon"),
        ("epoch_s", True),
        ("epoch_s", "nan"),
        ("epoch_ms", "1e400"),
        ("epoch_s", 10**15),
    ],
)
def test_what_is_no_time_is_refused(form: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parser(form, LocalClock(WARSAW, Counter()))(value)


def test_a_time_without_offset_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="give the mapping a zone"):
        parser("iso", None)("2026-03-02T08:00")


def test_a_zone_that_does_not_exist_is_named() -> None:
    with pytest.raises(InputError, match="'Europe/Warszawa': no such time zone"):
        LocalClock("Europe/Warszawa", Counter())


@given(
    st.datetimes(datetime(1000, 1, 1)),
    st.sampled_from(["%Y-%m-%d %H:%M:%S", "%d.%m.%Y, %H:%M", "%Y%m%d%H%M%S"]),
)
def test_the_fast_parser_reads_what_strptime_reads(at: datetime, form: str) -> None:
    text = at.strftime(form)
    assert local_parser(form)(text) == datetime.strptime(text, form)


@pytest.mark.parametrize("form", ["iso", "%d.%m.%Y %H:%M", "%d %b %Y %I:%M %p"])
def test_a_text_that_is_too_long_is_no_time_and_takes_none(form: str) -> None:
    """A cell of a megabyte of blanks took a day."""
    parse = parser(form, LocalClock("UTC", Counter()))
    for text in ("2026-01-01" + " " * (1 << 20) + "x", "01.01.2026" + " " * (1 << 20), "1" * (1 << 20)):
        with pytest.raises(ValueError, match="characters, and is no time") as error:
            parse(text)
        assert len(str(error.value)) < 200
