"""The views `social` and `empathy` against loops over the rows."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.model.kinds import Kind
from cxstream.warehouse.views.statistics import student_t
from view_rows import START, answer, database, made_up, touchpoint

if TYPE_CHECKING:
    import duckdb

    from view_rows import Row

ROWS = made_up(11, 2000, 40)
QUADRANTS = ("says", "thinks", "does", "feels", "pains", "gains")
COMPANY = {kind.label for kind in Kind if kind.spec.company}


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return database(ROWS)


def same(found: Row, expected: Row) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        wanted = pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
        assert found[name] == wanted, name


def week(row: Row) -> Any:
    day = START + timedelta(days=(row["time"] - START).days)
    return day - timedelta(days=day.weekday())


# --- social


def tags(row: Row) -> list[str]:
    plain = [tag.strip().lstrip("#").lower() for tag in row["hashtags"] or []]
    return list(dict.fromkeys(tag for tag in plain if tag))


def posted(posts: list[Row], everything: int, few: int, limit: float) -> Row:
    said = [row["sentiment"] for row in posts if row["sentiment"] is not None]
    counts = Counter(tag for row in posts for tag in tags(row))
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    enough = bool(said) and len(said) >= few
    mean = statistics.fmean(said) if said else None
    margin = (
        student_t(len(said) - 1) * statistics.stdev(said) / len(said) ** 0.5
        if enough and len(said) > 1
        else None
    )
    positive, negative = sum(z > limit for z in said), sum(z < -limit for z in said)
    sums = {name: float(sum(row[name] or 0 for row in posts)) for name in ("likes", "shares", "comments")}
    engagement = sum(sums.values())
    return {
        "posts": len(posts),
        "customers": len({row["customer_id"] for row in posts}),
        "share_of_voice": len(posts) / everything,
        "sentiment": mean if enough else None,
        "sentiment_low": None if mean is None or margin is None else max(-1.0, mean - margin),
        "sentiment_high": None if mean is None or margin is None else min(1.0, mean + margin),
        "rated": len(said),
        "positive": positive,
        "neutral": len(said) - positive - negative,
        "negative": negative,
        "net_sentiment": (positive - negative) / len(said) if said else None,
        **sums,
        "engagement": engagement,
        "engagement_per_post": engagement / len(posts),
        "hashtags": ", ".join(f"{tag} {count}" for tag, count in top) or None,
        "too_few": "sentiment" if 0 < len(said) < few else None,
    }


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    each=st.sampled_from(["post", "hashtag"]),
    by=st.sampled_from([(), ("topic",), ("channel", "segment")]),
    grain=st.sampled_from([None, "week"]),
    since=st.integers(0, 20),
    few=st.sampled_from([0, 1, 4, 30]),
    limit=st.sampled_from(["0", "0.05", "0.5"]),
)
def test_social(
    connection: duckdb.DuckDBPyConnection,
    each: str,
    by: tuple[str, ...],
    grain: Any,
    since: int,
    few: int,
    limit: str,
) -> None:
    begin = START + timedelta(days=since)
    posts = [row for row in ROWS if row["kind"] == "social_post" and row["time"] >= begin]
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    totals = Counter(week(row) if grain else None for row in posts)
    for row in posts:
        for tag in (tags(row) if each == "hashtag" else []) or [None]:
            groups[(week(row) if grain else None, *(row[name] for name in by), tag)].append(row)
    found = answer(
        connection,
        "social",
        by=by,
        grain=grain,
        since=begin,
        few=few,
        options={"each": each, "neutral": limit},
    )
    assert len(found) == len(groups)
    for row in found:
        key = (row.get("period"), *(row[name] for name in by), row["hashtag"])
        names = {name: row[name] for name in (*(("period",) if grain else ()), *by, "hashtag")}
        same(row, names | posted(groups[key], totals[key[0]], few, float(limit)))


def test_share_of_voice_by_topic_and_day() -> None:
    posts = [("delivery", 0), ("delivery", 0), ("price", 0), ("price", 1)]
    rows = [
        touchpoint(
            offset=i,
            kind="social_post",
            channel="social",
            topic=topic,
            time=START + timedelta(days=day, hours=i),
        )
        for i, (topic, day) in enumerate(posts)
    ]
    found = answer(database(rows), "social", by=("topic",), grain="day")
    assert [(row["period"].day, row["topic"], row["posts"], round(row["share_of_voice"], 3)) for row in found] == [
        (2, "delivery", 2, 0.667), (2, "price", 1, 0.333), (3, "price", 1, 1.0),
    ]  # fmt: skip


def test_enormous_numbers_of_likes_are_bounded() -> None:
    rows = [
        touchpoint(offset=i, kind="social_post", channel="social", likes=1e308, shares=1.0) for i in range(3)
    ]
    (found,) = answer(database(rows), "social")
    assert (found["likes"], found["shares"]) == (3e12, 3)


# --- empathy


def tone(row: Row) -> str | None:
    if row["sentiment"] is None:
        return None
    return "positive" if row["sentiment"] > 0.05 else "negative" if row["sentiment"] < -0.05 else "neutral"


def says(row: Row) -> str | None:
    match row["kind"]:
        case "survey_nps":
            return (
                f"NPS {'promoter' if row['score'] >= 9 else 'passive' if row['score'] >= 7 else 'detractor'}"
            )
        case "survey_csat" | "survey_ces":
            return f"{row['kind'][7:].upper()} {row['score']:.0f}"
        case "review":
            return f"{row['rating']:g} stars"
        case "complaint_opened":
            return f"complaint about {row['topic']}" if row["topic"] else "complaint"
        case "social_post":
            return f"{tone(row)} post" if tone(row) else "post"
    return None


def thinks(row: Row) -> list[str]:
    kind, place = row["kind"], row["touchpoint"]
    asks = {"contact", "complaint_opened", "survey_nps", "survey_csat", "survey_ces", "review", "social_post"}
    found = [f"about {row['topic']}"] if kind in asks and row["topic"] else []
    if kind in {"return", "complaint_opened", "unsubscribed", "churned"} and row["reason"]:
        found.append(f"because {row['reason']}")
    if kind in {"search", "search_no_result"}:
        found.append(f"looks for something at {place}" if place else "looks for something")
    return found


def entries(row: Row) -> list[tuple[str, str]]:
    kind = row["kind"]
    made = [("says", said)] if (said := says(row)) else []
    made += [("thinks", thought) for thought in thinks(row)]
    if kind not in COMPANY:
        low = min(80, int(row["satisfaction_after"] // 20) * 20)
        made += [("does", f"{kind} on {row['channel']}"), ("feels", f"satisfaction {low}-{low + 20}")]
        made += [("feels", f"{tone(row)} words")] if tone(row) else []
    place = f"{kind} at {row['touchpoint']}" if row["touchpoint"] else f"{kind} on {row['channel']}"
    made += [("pains", place)] if row["effort"] > 0 or row["mood"] < 0 else []
    return made + ([("gains", place)] if row["mood"] > 0 else [])


def mapped(rows: list[Row], most: int) -> dict[tuple[str, str], Row]:
    """The map of a group of rows, in its order."""
    items: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        for entry in entries(row):
            items[entry].append(row)
    shown: dict[tuple[str, str], Row] = {}
    for quadrant in QUADRANTS:
        mine = sorted((-len(found), item) for (name, item), found in items.items() if name == quadrant)
        everything = -sum(count for count, _ in mine)
        for count, item in mine[:most]:
            found = items[quadrant, item]
            shown[quadrant, item] = {
                "count": -count,
                "customers": len({row["customer_id"] for row in found}),
                "share": -count / everything,
                "effort": float(sum(row["effort"] for row in found)),
                "mood": float(sum(row["mood"] for row in found)),
            }
    return shown


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    by=st.sampled_from([(), ("segment",), ("stage", "campaign")]),
    grain=st.sampled_from([None, "week"]),
    since=st.integers(0, 20),
    most=st.sampled_from(["0", "1", "5", "300"]),
    through=st.sampled_from(["any", "o'clock", "complaint_opened", "nowhere"]),
)
def test_empathy(
    connection: duckdb.DuckDBPyConnection,
    by: tuple[str, ...],
    grain: Any,
    since: int,
    most: str,
    through: str,
) -> None:
    begin = START + timedelta(days=since)
    inside = [row for row in ROWS if row["time"] >= begin]
    there = {row["customer_id"] for row in inside if through in {"any", row["touchpoint"], row["kind"]}}
    if through == "any":
        there = {row["customer_id"] for row in inside}
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in inside:
        if row["customer_id"] in there:
            groups[(week(row) if grain else None, *(row[name] for name in by))].append(row)
    found = answer(
        connection, "empathy", by=by, grain=grain, since=begin, options={"most": most, "through": through}
    )
    maps = {key: mapped(rows, max(1, int(most))) for key, rows in groups.items()}
    assert len(found) == sum(len(one) for one in maps.values())
    order: dict[tuple[Any, ...], list[tuple[str, str]]] = defaultdict(list)
    for row in found:
        key, entry = (row.get("period"), *(row[name] for name in by)), (row["quadrant"], row["item"])
        order[key].append(entry)
        named = (*(("period",) if grain else ()), *by, "quadrant", "item")
        same(row, {name: row[name] for name in named} | maps[key][entry])
    for key, entries_found in order.items():
        assert entries_found == list(maps[key])


def test_empathy_has_no_quotes() -> None:
    row = touchpoint(kind="survey_nps", score=3.0, reason="my card number is 1234")
    found = answer(database([row]), "empathy")
    assert not any("card number" in str(value) for one in found for value in one.values())
