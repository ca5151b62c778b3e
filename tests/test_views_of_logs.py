"""Views of whole logs, through `replay --warehouse`, against loops over the raw events.

The logs are simulated traffic, and, where their data is beside the project, a part of the Olist shop and of a bank's calls.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import pytest

from cxstream.model.scored import COLUMNS
from cxstream.settings import Settings
from cxstream.warehouse.store import reading
from cxstream.warehouse.views.statistics import wilson
from in_process import cxstream
from test_view_campaigns import World, summed
from test_view_social_and_empathy import posted, says, thinks
from view_rows import answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb

    from view_rows import Row

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
WEEK = timedelta(days=7)
# Part of a shop's or a bank's customers.
PART = 8


class Log(NamedTuple):
    """A log and what `replay` made of it.

    Attributes:
        name: what it is of.
        rows: its accepted events, as they stand in the file.
        rejected: rejected records by source; None where it could not be read.
        signals: churn-risk signals of the replay.
        connection: to the warehouse.
    """

    name: str
    rows: list[Row]
    rejected: Counter[str | None]
    signals: list[Row]
    connection: duckdb.DuckDBPyConnection


def simulated(folder: Path) -> Path:
    out = folder / "in.ndjson"
    options = ("--customers", 100, "--days", 30, "--seed", 8, "--trouble", 3, "--broken", 0.003, "--quiet")
    assert cxstream("simulate", "--out", out, *options).returncode == 0
    return out


def converted(folder: Path, *command: object) -> Path:
    """The events of some of the customers of other data."""
    everything, out = folder / "all.ndjson", folder / "in.ndjson"
    done = cxstream("convert", *command, "--allow-errors", "--out", everything)
    assert done.returncode == 0, done.stderr
    lines = everything.read_bytes().splitlines(keepends=True)
    out.write_bytes(
        b"".join(line for line in lines if crc32(json.loads(line)["subject"].encode()) % PART == 0)
    )
    return out


def shop(folder: Path) -> Path:
    return converted(folder, "olist", DATA / "olist_sample")


def bank(folder: Path) -> Path:
    calls = DATA / "callcentre_anonymous_bank" / "data_anonymous_bank_february.txt"
    return converted(folder, "anonymous-bank", calls, "--unidentified", "per-call")


def accepted(path: Path, rejected: set[int]) -> list[Row]:
    """The events of a file without those of these lines, and without repetitions."""
    fields = [column.name for column in COLUMNS if column.data]
    seen, rows = set(), []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if number in rejected:
            continue
        event = json.loads(line)
        key = event["source"], event["id"]
        if key in seen:
            continue
        seen.add(key)
        moment = datetime.fromisoformat(event["time"]).astimezone(UTC).replace(tzinfo=None)
        row = {
            **dict.fromkeys(fields),
            **event["data"],
            "customer_id": event["subject"],
            "partition": 0,
            "offset": number,
        }
        rows.append(row | {"time": moment, "kind": event["type"].split(".")[2], "source": event["source"]})
    for row in rows:
        row["amount_base"] = row["amount"]
    return rows


@pytest.fixture(scope="module", params=[simulated, shop, bank])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    if request.param is not simulated and not DATA.is_dir():
        pytest.skip("the data may not be shipped and is not here")
    folder = tmp_path_factory.mktemp("log")
    path, warehouse = request.param(folder), folder / "cx.duckdb"
    currency = "BRL" if request.param is shop else "EUR"
    (folder / "cx.toml").write_text(f'[scoring]\nbase_currency = "{currency}"\n')
    done = cxstream(
        "--config", folder / "cx.toml", "replay", path, "--out", folder / "out", "--warehouse", warehouse
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (folder / "out" / "rejected.ndjson").read_bytes().splitlines()]
    signals = [json.loads(line) for line in (folder / "out" / "signals.ndjson").read_bytes().splitlines()]
    with reading(warehouse, Settings().warehouse) as connection:
        yield Log(
            request.param.__name__,
            accepted(path, {one["line"] for one in lines}),
            Counter(source_of(one["raw"]) for one in lines),
            [one for one in signals if "churn_risk" in one["type"]],
            connection,
        )


def source_of(raw: str) -> str | None:
    try:
        return json.loads(raw)["source"]
    except (ValueError, KeyError, TypeError):
        return None


def by(rows: list[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def people(rows: list[Row]) -> int:
    return len({row["customer_id"] for row in rows})


def week(row: Row) -> datetime:
    day = row["time"].replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def of_kind(rows: list[Row], *kinds: str) -> list[Row]:
    return [row for row in rows if row["kind"] in kinds]


def equal(found: Row, wanted: Row) -> None:
    for name, value in wanted.items():
        close = pytest.approx(value, rel=1e-6, abs=1e-4) if isinstance(value, float) else value
        assert found[name] == close, name


def test_touchpoints(log: Log) -> None:
    groups = by(log.rows, lambda row: (week(row), row["kind"], row["channel"]))
    found = answer(log.connection, "touchpoints", by=("kind", "channel"), grain="week")
    assert {
        (row["period"], row["kind"], row["channel"]): (row["touchpoints"], row["customers"]) for row in found
    } == {key: (len(rows), people(rows)) for key, rows in groups.items()}


def test_voice(log: Log) -> None:
    answers = of_kind(log.rows, "survey_nps", "survey_csat", "survey_ces", "review")
    found = answer(log.connection, "voice", few=1, by=("channel",))
    groups = by(answers, lambda row: row["channel"])
    assert len(found) == len(groups)
    assert bool(groups) == (log.name != "bank")
    for row in found:
        mine = groups[row["channel"]]
        scores = {
            kind: [one["score"] for one in of_kind(mine, f"survey_{kind}")] for kind in ("nps", "csat", "ces")
        }
        stars = [one["rating"] for one in of_kind(mine, "review")]
        nps, csat = scores["nps"], scores["csat"]
        promoters, detractors = sum(score >= 9 for score in nps), sum(score <= 6 for score in nps)
        wanted = {
            "nps": 100 * (promoters - detractors) / len(nps) if nps else None,
            "nps_answers": len(nps),
            "csat": sum(score >= 4 for score in csat) / len(csat) if csat else None,
            "csat_answers": len(csat),
            "ces": statistics.fmean(scores["ces"]) if scores["ces"] else None,
            "stars": statistics.fmean(stars) if stars else None,
            "reviews": len(stars),
            "customers": people(mine),
        }
        equal(row, wanted)


def first_contacts(contacts: list[Row], end: datetime) -> tuple[int, int]:
    first = resolved = 0
    for thread in by(contacts, lambda row: (row["customer_id"], row["topic"])).values():
        times = sorted(row["time"] for row in thread if row["topic"] is not None)
        for before, time, after in zip([None, *times], times, [*times[1:], None], strict=False):
            if (before is None or time - before >= WEEK) and end - time >= WEEK:
                first += 1
                resolved += after is None or after - time > WEEK
    return first, resolved


def test_service(log: Log) -> None:
    contacts, opened = of_kind(log.rows, "contact"), of_kind(log.rows, "complaint_opened")
    found = answer(log.connection, "service", few=1)
    if not contacts:
        assert (log.name, found[0]["contacts"]) == ("shop", 0)
        return
    waits = [row["wait_s"] for row in contacts if row["wait_s"] is not None]
    handles = [row["handle_s"] for row in contacts if row["handle_s"] is not None]
    gone = sum(bool(row["abandoned"]) for row in contacts)
    first, resolved = first_contacts(contacts, max(row["time"] for row in log.rows))
    solved = {
        (row["customer_id"], row["case_id"]): row["time"] for row in of_kind(log.rows, "complaint_resolved")
    }
    still = [
        row for row in opened if solved.get((row["customer_id"], row["case_id"]), row["time"]) <= row["time"]
    ]
    assert resolved > 0
    wanted = {
        "contacts": len(contacts),
        "customers": people(contacts + opened),
        "wait_mean_s": statistics.fmean(waits),
        "wait_median_s": statistics.median(waits),
        "waited": len(waits),
        "in_time": sum(
            row["wait_s"] is not None and row["wait_s"] <= 20 and not row["abandoned"] for row in contacts
        )
        / len(waits),
        "abandoned": gone,
        "abandonment_high": wilson(gone, len(contacts))[1],
        "handle_mean_s": statistics.fmean(handles),
        "transferred": sum(bool(row["transfers"]) for row in contacts),
        "first_contacts": first,
        "first_resolved": resolved,
        "complaints_opened": len(opened),
        "complaints_open": len(still),
    }
    equal(found[0], wanted)


def test_value(log: Log) -> None:
    kinds = ("purchase", "return", "discount_used", "loyalty_joined", "loyalty_redeemed", "referral")
    groups = by(
        of_kind(log.rows, *kinds),
        lambda row: row["time"].replace(day=1, hour=0, minute=0, second=0, microsecond=0),
    )
    found = answer(log.connection, "value", grain="month")
    assert len(found) == len(groups)
    for row in found:
        mine = groups[row["period"]]
        bought, back = of_kind(mine, "purchase"), of_kind(mine, "return")
        wanted = {
            "purchases": len(bought), "buyers": people(bought), "returns": len(back), "customers": people(mine),
            "revenue": float(sum(one["amount"] for one in bought)), "returned": float(sum(one["amount"] for one in back)),
            "discounts_used": len(of_kind(mine, "discount_used")), "unconverted": 0,
        }  # fmt: skip
        equal(row, wanted)


def journeys_of(rows: list[Row]) -> list[list[Row]]:
    """The touchpoints of each customer in order."""
    ordered = sorted(rows, key=lambda row: (row["time"], row["offset"]))
    return list(by(ordered, lambda row: row["customer_id"]).values())


def test_journeys_and_paths(log: Log) -> None:
    edges: dict[Any, list[float]] = defaultdict(list)
    paths: Counter[str] = Counter()
    for journey in journeys_of(log.rows):
        # That a customer left is the end of a path, and no step.
        if steps := [row["kind"] for row in journey if row["kind"] != "churned"]:
            paths[" > ".join(steps)] += 1
        edges[None, journey[0]["kind"]].append(0)
        edges[journey[-1]["kind"], None].append(0)
        for before, row in pairwise(journey):
            edges[before["kind"], row["kind"]].append((row["time"] - before["time"]).total_seconds())
    found = answer(log.connection, "journeys", options={"place": "kind"})
    assert {(row["from_touchpoint"], row["to_touchpoint"]): row["count"] for row in found} == {
        edge: len(gaps) for edge, gaps in edges.items()
    }
    for row in found:
        if row["from_touchpoint"] and row["to_touchpoint"]:
            gaps = edges[row["from_touchpoint"], row["to_touchpoint"]]
            equal(row, {"median_s": float(statistics.median(gaps)), "mean_s": statistics.fmean(gaps)})
    taken = answer(log.connection, "paths", options={"place": "kind"})
    assert {row["path"]: row["journeys"] for row in taken} == paths


def test_funnel(log: Log) -> None:
    steps = {
        "simulated": "error>contact>complaint_opened",
        "shop": "purchase>delivery>review",
        "bank": "contact",
    }[log.name]
    reached = [0] * (steps.count(">") + 1)
    for journey in journeys_of(log.rows):
        best = 0
        for i, start in enumerate(journey):
            if start["kind"] != steps.split(">")[0]:
                continue
            at = 1
            for row in journey[i + 1 :]:
                if row["time"] - start["time"] > timedelta(days=20) or at == len(reached):
                    break
                at += row["kind"] == steps.split(">")[at]
            best = max(best, at)
        for i in range(best):
            reached[i] += 1
    found = answer(log.connection, "funnel", options={"steps": steps, "place": "kind", "within": "20"})
    assert [row["journeys"] for row in found] == [count for count in reached if count]
    assert reached[0] > 0


def test_quality(log: Log) -> None:
    groups = by(log.rows, lambda row: row["source"])
    found = answer(log.connection, "quality", by=("source",))
    assert {row["source"]: row["rejected"] for row in found if row["rejected"]} == log.rejected
    assert {row["source"] for row in found} == set(groups) | set(log.rejected)
    for row in found:
        times = sorted(one["time"] for one in groups.get(row["source"], []))
        gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
        wanted = {"touchpoints": len(times), "longest_gap_s": max(gaps, default=None)}
        equal(row, wanted | {"first_time": times[0], "last_time": times[-1]} if times else wanted)


def test_risk(log: Log) -> None:
    found = answer(log.connection, "risk")
    groups = by(log.signals, lambda one: (one["data"]["previous"], one["data"]["level"]))
    assert {(row["previous"], row["new_level"]): (row["signals"], row["customers"]) for row in found} == {
        key: (len(same), len({one["subject"] for one in same})) for key, same in groups.items()
    }


def test_campaigns(log: Log) -> None:
    world = World(log.rows, 7, "opened", 3)
    groups = by(world.entries, lambda row: row["campaign"])
    found = answer(log.connection, "campaigns", by=("campaign",), options={"touch": "opened"})
    assert len(found) == len(groups)
    assert (sum(row["converted_last"] for row in found) > 0) == (log.name == "simulated")
    for row in found:
        equal(row, summed(groups[row["campaign"]], 10, 0, "last", min(each["time"] for each in log.rows)))


def test_social(log: Log) -> None:
    posts = by(of_kind(log.rows, "social_post"), lambda row: row["topic"])
    everything = sum(map(len, posts.values()))
    found = answer(log.connection, "social", by=("topic",))
    assert bool(found) == (log.name == "simulated")
    assert len(found) == len(posts)
    for row in found:
        equal(row, posted(posts[row["topic"]], everything, 10, 0.05))


def test_consistency(log: Log) -> None:
    contacts = of_kind(log.rows, "contact")
    repeats, moved, customers = Counter[str](), Counter[str](), defaultdict(set)
    for thread in journeys_of(contacts):
        for topic, mine in by(thread, lambda row: row["topic"]).items():
            for before, row in pairwise(mine):
                if row["time"] - before["time"] <= WEEK:
                    repeats[topic] += 1
                    if row["channel"] != before["channel"]:
                        moved[topic] += 1
                        customers[topic].add(row["customer_id"])
    found = answer(log.connection, "consistency")
    assert {row["item"] for row in found} == {row["topic"] for row in log.rows if row["topic"] is not None}
    for row in found:
        said = [
            one["resolved"] for one in contacts if one["topic"] == row["item"] and one["resolved"] is not None
        ]
        wanted = {
            "repeats": repeats[row["item"]], "repeats_elsewhere": moved[row["item"]], "answered": len(said),
            "resolved": sum(said), "customers_elsewhere": len(customers[row["item"]]),
        }  # fmt: skip
        equal(row, wanted)


def test_empathy(log: Log) -> None:
    wanted: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in log.rows:
        for item in [said] if (said := says(row)) else []:
            wanted["says", item].append(row)
        for item in thinks(row):
            wanted["thinks", item].append(row)
    found = answer(log.connection, "empathy", options={"most": "1000"})
    assert {
        (row["quadrant"], row["item"]): (row["count"], row["customers"])
        for row in found
        if row["quadrant"] in {"says", "thinks"}
    } == {key: (len(rows), people(rows)) for key, rows in wanted.items()}
