"""The built-in converters against figures that others computed from the same data."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import statistics
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from cxstream.convert import anonymous_bank, olist
from cxstream.convert.report import Problem, Report
from cxstream.convert.run import write
from cxstream.model.errors import InputError
from validity import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.convert.drafts import Draft

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
OLIST = DATA / "olist_sample"
BANK = DATA / "callcentre_anonymous_bank"
CALLS = BANK / "data_anonymous_bank_february.txt"

needs_olist = pytest.mark.skipif(
    not OLIST.is_dir(), reason="the Olist sample may not be shipped and is not here"
)
needs_bank = pytest.mark.skipif(
    not BANK.is_dir(), reason="the bank's call log may not be shipped and is not here"
)


class Converted:
    """What a converter made."""

    def __init__(self, drafts: Callable[[Report], Iterator[Draft]]) -> None:
        self.problems: list[Problem] = []
        self.report = Report(self.problems.append)
        out = io.BytesIO()
        write(drafts(self.report), out, self.report, in_order=True)
        self.raw = out.getvalue()
        self.lines = self.raw.splitlines()
        self.events: list[dict[str, Any]] = [msgspec.json.decode(line) for line in self.lines]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == f"cx.touchpoint.{kind}.v1"]


@pytest.fixture(scope="module")
def shop() -> Converted:
    return Converted(lambda report: olist.drafts(OLIST, report))


@pytest.fixture(scope="module")
def calls() -> Converted:
    return Converted(lambda report: anonymous_bank.drafts([CALLS], report, unidentified="per-call"))


# --- olist


@needs_olist
def test_olist_gives_every_row_its_event(shop: Converted) -> None:
    assert Counter(shop.report.rows.values()) == {17_554: 2, 18_416: 1, 17_492: 1}
    assert shop.report.events == {"purchase": 17_553, "delivery": 17_027, "review": 17_492}
    assert [(problem.line, problem.reason) for problem in shop.problems] == [(7909, "no_payment")]
    assert shop.report.notes[olist.NOT_DELIVERED] == 17_554 - 17_027
    assert shop.report.notes[olist.ENDED] == 233


@needs_olist
def test_olist_events_are_good_in_order_and_told_apart(shop: Converted) -> None:
    assert all(validate(line) is None for line in shop.lines[::97])
    times = [event["time"] for event in shop.events]
    assert times == sorted(times)
    assert len({(event["source"], event["id"]) for event in shop.events}) == len(shop.events)
    assert times[0] == "2016-10-04T01:06:03.000Z"  # 22:06:03 of the day before in Sao Paulo


@needs_olist
def test_olist_reviews_have_the_published_mean(shop: Converted) -> None:
    ratings = [event["data"]["rating"] for event in shop.of("review")]
    assert statistics.mean(ratings) == pytest.approx(4.08175, abs=5e-6)
    shares = {stars: count / len(ratings) for stars, count in Counter(ratings).items()}
    assert [round(shares[stars], 4) for stars in (5, 4, 3, 2, 1)] == [0.5749, 0.1931, 0.0853, 0.0320, 0.1146]
    assert sum(1 for event in shop.of("review") if event["data"].get("lang") == "pt") >= 7_251


@needs_olist
def test_olist_lateness_costs_the_published_stars(shop: Converted) -> None:
    late_days = {event["data"]["order_id"]: event["data"]["late_days"] for event in shop.of("delivery")}
    rated = [
        (late_days[order], event["data"]["rating"])
        for event in shop.of("review")
        if (order := event["data"]["order_id"]) in late_days
    ]
    assert statistics.mean(late > 0 for late, _ in rated) == pytest.approx(0.07880, abs=5e-6)
    assert statistics.mean(stars for late, stars in rated if late == 0) == pytest.approx(4.28338, abs=5e-6)
    assert statistics.mean(stars for late, stars in rated if late > 0) == pytest.approx(2.58327, abs=5e-6)
    assert statistics.mean(stars for late, stars in rated if late > 7) == pytest.approx(1.78261, abs=5e-6)


@needs_olist
def test_olist_money_is_all_there(shop: Converted) -> None:
    paid = (OLIST / olist.PAYMENTS).read_text("utf-8").splitlines()[1:]
    total = sum(float(line.rsplit(",", 1)[1]) for line in paid)
    amounts = [event["data"]["amount"] for event in shop.of("purchase")]
    assert sum(amounts) == pytest.approx(total, abs=0.01)
    assert {event["data"]["currency"] for event in shop.of("purchase")} == {"BRL"}


@needs_olist
def test_olist_is_the_same_each_time(shop: Converted) -> None:
    assert Converted(lambda report: olist.drafts(OLIST, report)).raw == shop.raw


def little_shop(folder: Path) -> None:
    files = {
        olist.CUSTOMERS: "customer_id,customer_unique_id,customer_state\nc1,anna,SP\nc2,anna,SP\nc3,bia,RJ\n",
        olist.ORDERS: (
            "order_id,customer_id,order_status,order_purchase_timestamp,order_delivered_customer_date,"
            "order_estimated_delivery_date\n"
            "o1,c1,delivered,2018-06-12 20:07:44,2018-06-20 12:00:00,2018-06-20 00:00:00\n"
            "o2,c2,canceled,2018-06-13 08:00:00,,2018-06-20 00:00:00\n"
            "o3,c9,delivered,2018-06-13 08:00:00,2018-06-19 08:00:00,2018-06-20 00:00:00\n"
            "o4,c3,delivered,2018-06-13 08:00:00,soon,2018-06-20 00:00:00\n"
            "o5,c3,delivered,2018-06-13 09:00:00,2018-06-19 08:00:00,2018-06-20 00:00:00\n"
        ),
        olist.PAYMENTS: "order_id,payment_value\no1,10.10\no1,0.20\no2,5\no4,7\no5,much\no5,3\n",
        olist.REVIEWS: (
            "review_id,order_id,review_score,review_comment_title,review_comment_message,review_answer_timestamp\n"
            'r1,o1,2,Atraso," chegou ""tarde""\nmas bom",2018-06-21 09:00:00\n'
            "r1,o2,5,,,2018-06-21 09:00:00\n"
            "r2,o7,5,,,2018-06-21 09:00:00\n"
            "r3,o1,9,,,2018-06-21 09:00:00\n"
            "r4,o1,good,,,2018-06-21 09:00:00\n"
        ),
    }
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")


def test_olist_by_hand(tmp_path: Path) -> None:
    little_shop(tmp_path)
    found = Converted(lambda report: olist.drafts(tmp_path, report))
    first = found.events[0]
    assert (first["subject"], first["time"], first["data"]["amount"]) == (
        "anna",
        "2018-06-12T23:07:44.000Z",
        10.3,
    )
    assert [e["data"]["late_days"] for e in found.of("delivery")] == [0, 0.5]
    assert [e["data"]["order_id"] for e in found.of("purchase")] == ["o1", "o2", "o4"]
    assert [(e["data"]["rating"], e["data"].get("text")) for e in found.of("review")] == [
        (2, 'Atraso\nchegou "tarde"\nmas bom'),
        (5, None),
    ]
    told = [(Path(p.file).name, p.line, p.field, p.reason) for p in found.problems]
    assert told == [
        (olist.PAYMENTS, 6, "payment_value", "unreadable_number"),
        (olist.ORDERS, 4, "customer_id", "unknown_customer"),
        (olist.ORDERS, 5, "order_delivered_customer_date", "unreadable_time"),
        (olist.ORDERS, 6, "order_id", "no_payment"),
        (olist.REVIEWS, 5, "order_id", "unknown_order"),
        (olist.REVIEWS, 7, "review_score", "unreadable_number"),
        (olist.REVIEWS, 6, "data.rating", "invalid"),
    ]


def test_olist_says_which_file_is_missing(tmp_path: Path) -> None:
    little_shop(tmp_path)
    (tmp_path / olist.REVIEWS).unlink()
    with pytest.raises(InputError, match=f"{olist.REVIEWS}: missing"):
        Converted(lambda report: olist.drafts(tmp_path, report))


# --- anonymous bank


@needs_bank
def test_the_bank_has_the_reference_figures(calls: Converted) -> None:
    expected = json.loads((BANK / "reference_pandas.json").read_text("utf-8"))
    data = [event["data"] for event in calls.of("contact")]
    abandoned = [d for d in data if d["abandoned"]]
    assert sum(calls.report.rows.values()) == expected["rows"]
    assert calls.report.skipped == {anonymous_bank.PHANTOM: expected["phantom"]}
    assert len(data) - len(abandoned) == expected["agent"]
    assert len(abandoned) == expected["hang"]
    assert len(abandoned) / len(data) == pytest.approx(expected["abandon_rate"])
    served = [d["handle_s"] for d in data if not d["abandoned"]]
    assert statistics.mean(served) == pytest.approx(expected["mean_service_s_agent"])
    assert not calls.problems


@needs_bank
def test_the_bank_has_the_reference_waits(calls: Converted) -> None:
    expected = json.loads((BANK / "reference_pandas.json").read_text("utf-8"))
    waited = [event["data"] for event in calls.of("contact") if event["data"]["wait_s"] > 0]
    waits = [d["wait_s"] for d in waited]
    assert len(waits) == expected["queued"]
    assert statistics.mean(waits) == pytest.approx(expected["mean_wait_queued_s"])
    assert statistics.mean(d["abandoned"] for d in waited) == pytest.approx(expected["abandon_rate_queued"])
    assert statistics.median(waits) == expected["p50_wait_queued"]


@needs_bank
def test_the_bank_without_the_unidentified(calls: Converted) -> None:
    expected = json.loads((BANK / "reference_pandas.json").read_text("utf-8"))
    known = Converted(lambda report: anonymous_bank.drafts([CALLS], report))
    phantoms = 222  # of the identified
    assert len(known.events) == expected["calls_from_identified"] - phantoms
    assert sum(known.report.skipped.values()) + len(known.events) == expected["rows"]
    named = [
        line for line, event in zip(calls.lines, calls.events, strict=True) if event["subject"][:5] != "call-"
    ]
    assert known.lines == named


@needs_bank
def test_bank_events_are_good_in_order_and_told_apart(calls: Converted) -> None:
    assert all(validate(line) is None for line in calls.lines[::97])
    times = [event["time"] for event in calls.events]
    assert times == sorted(times)
    assert {time[:7] for time in times} == {
        "1999-01",
        "1999-02",
    }  # the night calls of 1 February are in January UTC
    assert len({event["id"] for event in calls.events}) == len(calls.events)


HEADER = (
    "vru+line\tcall_id\tcustomer_id\tpriority\ttype\tdate\tvru_entry\tvru_exit\tvru_time\tq_start\tq_exit\tq_time\t"
    "outcome\tser_start\tser_exit\tser_time\tserver"
)


def a_call(**changes: str) -> str:
    row = dict(
        zip(
            HEADER.split("\t"),
            [
                "AA0101",
                "34539",
                "23317894",
                "2",
                "PS",
                "990201",
                "8:09:16",
                "8:09:22",
                "6",
                "8:09:22",
                "8:10:27",
                "65",
                "AGENT",
                "8:10:27",
                "8:12:27",
                "120",
                "TOVA",
            ],
            strict=True,
        )
    )
    return "\t".join((row | changes).values())


def test_bank_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    rows = [
        HEADER,
        a_call(),
        a_call(
            call_id="2",
            outcome="HANG",
            q_start="0:00:00",
            q_time="0",
            customer_id="6.02701E+11",
            priority="0",
        ),
        a_call(call_id="3", outcome="HANG", server="NO_SERVER", vru_entry="8:09:17", customer_id="5"),
        a_call(call_id="4", outcome="PHANTOM"),
        a_call(call_id="5", customer_id="0"),
        a_call(call_id="6", customer_id="x"),
        a_call(call_id="7", type="ZZ"),
        a_call(call_id="8", outcome="LOST"),
        a_call(call_id="9", date="990231"),
        a_call(call_id="10", q_time="long"),
    ]
    path.write_text("\r\n".join(rows), "ascii", newline="")
    found = Converted(lambda report: anonymous_bank.drafts([path], report))
    assert found.events[0] == {
        "specversion": "1.0",
        "id": "990201-AA0101-34539",
        "source": "anonymous-bank/calls",
        "type": "cx.touchpoint.contact.v1",
        "subject": "23317894",
        "time": "1999-02-01T06:09:16.000Z",
        "data": {
            "channel": "call",
            "touchpoint": "call centre",
            "stage": "service",
            "topic": "regular activity",
            "wait_s": 65,
            "abandoned": False,
            "handle_s": 120,
            "agent": "TOVA",
            "segment": "priority",
        },
    }
    rest = [
        (e["subject"], e["data"]["touchpoint"], e["data"]["wait_s"], e["data"]["abandoned"])
        for e in found.events[1:]
    ]
    assert rest == [("602701000000", "voice menu", 0, True), ("5", "call centre", 65, True)]
    assert found.report.skipped == {anonymous_bank.PHANTOM: 1, anonymous_bank.UNIDENTIFIED: 1}
    assert [(p.line, p.field, p.reason) for p in found.problems] == [
        (7, "customer_id", "unreadable_number"),
        (8, "type", "unmapped_value"),
        (9, "outcome", "unmapped_value"),
        (10, "date/vru_entry", "unreadable_time"),
        (11, "q_time", "unreadable_number"),
    ]


@needs_bank
def test_a_log_is_read_compressed_too(calls: Converted, tmp_path: Path) -> None:
    packed = tmp_path / "log.txt.gz"
    with CALLS.open("rb") as plain, gzip.open(packed, "wb", 1) as out:
        shutil.copyfileobj(plain, out)
    again = Converted(lambda report: anonymous_bank.drafts([packed], report, unidentified="per-call"))
    assert again.raw == calls.raw
