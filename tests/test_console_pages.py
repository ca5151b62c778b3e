"""Pages of the console against independent SQL: Voice, Journeys, Service, Quality, Value, Campaigns, Consistency, Empathy."""

from __future__ import annotations

import csv
import io
import math
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console_app import console, read, warehouse
from cxstream.console import beside, charts, figures, weeks
from cxstream.console.figures import Estimate, Measure
from cxstream.console.language import language
from view_rows import START, made_up, touchpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import httpx

ROWS = made_up(11, 3000, 150)
SCOPE = "since=2026-03-09&until=2026-03-16"
WINDOW = "time >= '2026-03-09' AND time < '2026-03-16'"
POINTS = Measure("x", "X")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return warehouse(tmp_path_factory.mktemp("pages") / "w.duckdb", ROWS)


def asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


async def downloaded(client: httpx.AsyncClient, address: str) -> list[dict[str, str]]:
    answer = await client.get(address)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


async def behind(client: httpx.AsyncClient, link: str) -> list[dict[str, str]]:
    """The customers that a number of a page opens to."""
    return await downloaded(client, link.replace("/customers?", "/customers.csv?"))


def table(html: str, head: str) -> list[list[str]]:
    """The rows of the table whose first head is this."""
    return next(each for each in read(html).tables if each[0][0] == head)[1:]


async def test_a_week_that_is_not_whole_is_drawn_hollow_and_says_so(path: Path) -> None:
    # The period ends with a Wednesday.
    async with console(path) as client:
        cut = (await client.get("/quality?since=2026-03-12&until=2026-03-19")).text
        whole = (await client.get("/quality?since=2026-03-09&until=2026-03-16")).text
    starts = {row[0] for row in table(cut, "Week from")}
    assert starts == {"2 Mar 2026", "9 Mar 2026", "16 Mar 2026 3 of 7 days"}
    assert "of that from 16 Mar on, 3 of 7 days count." in cut
    assert cut.count('class="hol he"') == whole.count('class="hol he"') + 2
    assert cut.count("le thin dsh") == whole.count("le thin dsh") + 2
    assert "A hollow point" not in whole


def test_days_of_a_week_count_from_the_first_of_the_data_to_the_last_that_is_known() -> None:
    monday, day = datetime(2026, 3, 2), timedelta(days=1)  # noqa: DTZ001 - UTC without a zone
    asked_for: Any = SimpleNamespace(first=monday + 2.9 * day, until=monday + 16.5 * day)
    found = [weeks.days_of(asked_for, monday + n * 7 * day) for n in range(4)]
    assert found == [5, 7, 3, 0]
    # What followed a message is known seven days later.
    known = [weeks.days_of(asked_for, monday + n * 7 * day, asked_for.until - 7 * day) for n in range(3)]
    assert known == [5, 3, 0]


# Estimates


def test_a_change_is_marked_beyond_its_margin_only() -> None:
    words = language("en")
    now, near, far = Estimate(60, 50, 70), Estimate(48, 38, 58), Estimate(30, 20, 40)
    assert figures.change(words, POINTS, figures.difference(now, near)).text == "no clear change"
    clear = figures.change(words, POINTS, figures.difference(now, far))
    assert (clear.text, clear.tone, clear.spoken) == ("▲\N{NO-BREAK SPACE}+30.0", "better", "better")
    assert figures.change(words, POINTS, figures.difference(far, now)).tone == "worse"
    assert figures.change(words, POINTS, None).text == "too few"


def test_the_interval_of_a_change_is_newcombes() -> None:
    # Newcombe 1998, method 10: 56 of 70 and 48 of 80.
    found = figures.difference(figures.share_of(56, 70), figures.share_of(48, 80))
    assert found is not None
    assert (found.value, found.value - found.margin) == (pytest.approx(20.0), pytest.approx(5.24, abs=0.005))
    ends = figures.interval_of(figures.share_of(56, 70), figures.share_of(48, 80))
    assert ends == (pytest.approx(5.24, abs=0.005), pytest.approx(33.39, abs=0.005))
    assert figures.interval_of(figures.share_of(9, 9), figures.share_of(0, 1)) == (
        pytest.approx(15.2, abs=0.1),
        100,
    )


@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.data())
def test_the_interval_of_a_difference_of_shares_is_within_a_hundred_points(
    totals: tuple[int, int], data: Any
) -> None:
    hits = [data.draw(st.integers(0, total)) for total in totals]
    now, before = (figures.share_of(hit, total) for hit, total in zip(hits, totals, strict=True))
    ends = figures.interval_of(now, before)
    assert ends is not None
    assert -100 - 1e-9 <= ends[0] <= now.value - before.value <= ends[1] <= 100 + 1e-9


def test_a_side_of_too_few_journeys_has_no_share_and_no_difference() -> None:
    counts = {"left": {"bought": 1, "silent": 0}, "stayed": {"bought": 0, "silent": 90}}
    grid = beside.ends(language("en"), counts, str, lambda side, name: "", 5)
    assert [[cell.text for cell in row] for row in grid.rows] == [
        ["silent", "too few", "100.0%", "\N{EN DASH}"],
        ["bought", "too few", "0.0%", "\N{EN DASH}"],
    ]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Estimate(5, 3, 7), "±2.0"),
        (Estimate(1, 0, 4), "[0.0, 4.0]"),
        (Estimate(5), ""),
    ],
)
def test_a_margin_that_is_not_the_same_on_both_sides_is_an_interval(found: Estimate, text: str) -> None:
    assert figures.margin_of(language("en"), POINTS, found).replace("\N{NO-BREAK SPACE}", " ") == text


def test_what_goes_in_comes_out_of_a_sankey() -> None:
    flows = [
        charts.Flow(1, "a", "b", 30, "lk0", "a to b"),
        charts.Flow(1, "a", "end:x", 10, "lk0", "a to x"),
        charts.Flow(2, "b", "a", 30, "lk1", "b to a again"),
    ]
    drawn = charts.sankey(flows, [("1", ""), ("2", ""), ("3", "")], str, str, "T", {"end:x": "fg"})
    assert [text for text in ("a to b", "a to x", "b to a again") if text in drawn] == [
        "a to b",
        "a to x",
        "b to a again",
    ]
    # The place that comes again is a node of its own, two steps later.
    assert drawn.count('<tspan class="tb">a</tspan>') == 2
    heights = [float(part.split('height="')[1].split('"')[0]) for part in drawn.split("<rect")[1:]]
    assert heights[0] == pytest.approx(heights[1] + heights[2], abs=0.2)


# Voice


async def test_voice_is_that_of_the_answers(path: Path) -> None:
    ((promoters, detractors, answers),) = asked(
        path,
        f"""
        SELECT count(*) FILTER (score >= 9), count(*) FILTER (score <= 6), count(*)
        FROM touchpoints WHERE kind = 'survey_nps' AND {WINDOW}
        """,
    )
    share = (promoters - detractors) / answers
    margin = 196 * math.sqrt(((promoters + detractors) / answers - share * share) / answers)
    async with console(path) as client:
        page = (await client.get(f"/voice?{SCOPE}")).text
        text = " ".join(read(page).text.split())
        assert f"NPS is {round(100 * share)}".replace("-", "\N{MINUS SIGN}") in text
        assert f"±{margin:.0f}" in text
        counts = {row[0]: int(row[1]) for row in table(page, "Answer")}
        assert counts["NPS 9 or 10, promoters"] == promoters
        assert counts["NPS 0 to 6, detractors"] == detractors
        link = next(each for each in read(page).links if "of=detractors" in each)
        assert sum(int(row["rows"]) for row in await behind(client, link)) == detractors
        rows = await downloaded(client, f"/voice.csv?table=places&by=topic&{SCOPE}")
    wanted = asked(
        path,
        f"""
        SELECT topic, count(*) FILTER (kind = 'survey_ces'), count(*) FILTER (kind = 'review'), avg(rating)
        FROM touchpoints WHERE kind IN ('survey_nps', 'survey_csat', 'survey_ces', 'review') AND {WINDOW} GROUP BY topic
        """,
    )
    found = {row["topic"] or None: row for row in rows}
    for topic, ces, reviews, stars in wanted:
        assert (int(found[topic]["ces_answers"]), int(found[topic]["reviews"])) == (ces, reviews)
        if found[topic]["stars"]:
            assert float(found[topic]["stars"]) == pytest.approx(stars)


async def test_weeks_of_voice_are_whole_weeks(path: Path) -> None:
    async with console(path) as client:
        rows = await downloaded(client, f"/voice.csv?table=weeks&{SCOPE}")
    wanted = asked(
        path,
        """
        SELECT date_trunc('week', time)::DATE::VARCHAR, count(*) FROM touchpoints
        WHERE kind = 'survey_nps' AND time < '2026-03-16' GROUP BY 1 ORDER BY 1
        """,
    )
    assert [(row["period"][:10], int(row["nps_answers"])) for row in rows] == wanted


# Journeys


OURS = "('email_sent', 'campaign_sent', 'action_taken', 'purchase_history')"


def _journeys(path: Path, left_out: str = OURS) -> dict[Any, list[tuple[str, str]]]:
    """Kinds and channels of each session in order; what is done to customers is no step of theirs."""
    found: dict[Any, list[tuple[str, str]]] = {}
    for customer, session, kind, channel in asked(
        path,
        f"""
        SELECT customer_id, session, kind, channel FROM touchpoints
        WHERE session IS NOT NULL AND {WINDOW} AND kind NOT IN {left_out}
        ORDER BY customer_id, session, time, "partition", "offset"
        """,
    ):
        found.setdefault((customer, session), []).append((kind, channel))
    return found


def _end(kinds: Sequence[str]) -> str:
    last = {kind: place for place, kind in enumerate(kinds)}
    if last.get("churned", -1) > last.get("purchase", -1):
        return "left"
    if "purchase" in last:
        return "bought"
    return "complained" if "complaint_opened" in last else "silent"


def _steps(journeys: dict[Any, list[tuple[str, str]]]) -> dict[tuple[int, str, str, str], int]:
    """Links by step: how many go this way."""
    found: dict[tuple[int, str, str, str], int] = {}
    for taken in journeys.values():
        # To leave is no step, and begins no journey.
        first = next((n for n, (kind, _) in enumerate(taken) if kind != "churned"), len(taken))
        journey = taken[first:]
        channels = [channel for kind, channel in journey if kind != "churned"]
        places = [each for n, each in enumerate(channels) if n == 0 or channels[n - 1] != each]
        for step, place in enumerate(places[:4], 1):
            if step == len(places):
                link = (step, place, "", _end([kind for kind, _ in journey]))
            elif step == 4:
                link = (step, place, "", "later")
            else:
                link = (step, place, places[step], "on")
            found[link] = found.get(link, 0) + 1
    return found


@pytest.mark.parametrize(("ours", "left_out"), [("", OURS), ("&ours=all", "('')")])
async def test_steps_of_journeys_are_those_of_a_walk_through_them(
    path: Path, ours: str, left_out: str
) -> None:
    journeys = _journeys(path, left_out)
    async with console(path) as client:
        rows = await downloaded(client, f"/journeys.csv?table=steps&per=session&place=channel{ours}&{SCOPE}")
        page = (await client.get(f"/journeys?per=session&place=channel&all=1{ours}&{SCOPE}")).text
        assert ("Left out as steps" in page) == (not ours)
        shown = table(page, "From, to")
        links = [each for each in read(page).links if "view=steps" in each and "of=journeys" in each]
        first = await behind(client, links[0])
    found: dict[tuple[int, str, str, str], int] = {}
    for row in rows:
        key = int(row["step"]), row["from_place"], row["to_place"], row["outcome"]
        found[key] = found.get(key, 0) + int(row["journeys"])
    assert found == _steps(journeys)
    # Each link of the drawing stands in the table, and opens to those who took it.
    assert len(shown) == len(found)
    assert sum(int(row[2]) for row in shown) == sum(found.values())
    assert sum(int(row["rows"]) for row in first) == int(shown[0][2])


async def test_journeys_of_those_who_left_and_stayed_are_all_journeys(path: Path) -> None:
    async def total(client: httpx.AsyncClient, who: str) -> int:
        rows = await downloaded(client, f"/journeys.csv?table=steps&who={who}&{SCOPE}")
        return sum(int(row["journeys"]) for row in rows if row["result"])

    async with console(path) as client:
        everybody, left, stayed = [await total(client, who) for who in ("all", "left", "stayed")]
    assert left > 0
    assert everybody == left + stayed


async def test_who_left_stands_beside_who_stayed(path: Path) -> None:
    gone = {
        each for (each,) in asked(path, "SELECT DISTINCT customer_id FROM touchpoints WHERE kind = 'churned'")
    }
    everything = _journeys(path)
    sides = [
        {key: each for key, each in everything.items() if (key[0] in gone) == is_left}
        for is_left in (True, False)
    ]
    where = f"who=beside&per=session&place=channel&all=1&{SCOPE}"
    async with console(path) as client:
        page = (await client.get(f"/journeys?{where}&steps=web+%3E+call&fplace=channel")).text
        csv = await downloaded(client, f"/journeys.csv?table=steps&{where}")
        paths = await downloaded(client, f"/journeys.csv?table=paths&{where}")
        links = [each for each in read(page).links if "of=journeys" in each and "who%3Dleft" in each]
        people = await behind(client, next(each for each in links if "view=steps" in each))
        reached = await behind(client, next(each for each in links if "view=funnel" in each))
    for who, side in zip(("left", "stayed"), sides, strict=True):
        found: dict[tuple[int, str, str, str], int] = {}
        for row in csv:
            if row["who"] == who:
                key = int(row["step"]), row["from_place"], row["to_place"], row["outcome"]
                found[key] = found.get(key, 0) + int(row["journeys"])
        assert found == _steps(side)
        whole = [each for each in side.values() if any(kind != "churned" for kind, _ in each)]
        assert sum(int(row["journeys"]) for row in paths if row["who"] == who) == len(whole)
    ends = {row[0]: row[1:3] for row in table(page, "End")}
    left = [each for each in sides[0].values() if any(kind != "churned" for kind, _ in each)]
    bought = sum(_end([kind for kind, _ in each]) == "bought" for each in left)
    assert ends["Bought"][0].startswith(f"{100 * bought / len(left):.1f}%")
    assert ends["Left"][1].startswith("0.0%")
    shown = table(page, "From, to")
    # That somebody left is no comparison.
    assert f" in {sum(not row[0].endswith(' left') for row in shown)} comparisons." in read(page).text
    # What survives the correction stands in the headline, wherever it is.
    _names_clear_differences(read(page).text, table(page, "End"), table(page, "Step"))
    first = shown[0]
    assert first[1].startswith(f"{100 * sum(int(row['rows']) for row in people) / len(left):.1f}%")
    funnel = table(page, "Step")
    assert funnel[0][1].startswith("100.0%")
    assert int(funnel[0][4]) == sum(int(row["rows"]) for row in reached)


def _names_clear_differences(text: str, ends: list[list[str]], steps: list[list[str]]) -> None:
    lede = " ".join(text[text.index("of customers who left beside") :].split())
    for rows, begin, skipped in (
        (ends, "How they end differs:", "Left"),
        (steps, "Of those who come to", steps[0][0]),
    ):
        clear = [
            row for row in rows if row[0] != skipped and row[3] not in {"no clear difference", "\N{EN DASH}"}
        ]
        assert (begin in lede) == bool(clear), rows


def test_the_clearest_difference_is_the_largest_beyond_chance() -> None:
    totals = {"left": 1000, "stayed": 1000}
    counts = {"left": {"bought": 300, "complained": 260, "left": 340, "silent": 100},
              "stayed": {"bought": 500, "complained": 80, "left": 0, "silent": 420}}  # fmt: skip
    assert {side: sum(each.values()) for side, each in counts.items()} == totals
    pairs = beside.end_pairs(counts)
    found = beside.clearest(pairs, ("left",))
    assert found is not None
    assert found[0] == "silent"
    same = beside.end_pairs({"left": counts["left"], "stayed": {**counts["left"], "left": 0, "silent": 440}})
    assert beside.clearest(same[:2]) is None
    funnel = {
        side: [{"step": step, "journeys": number} for step, number in zip("abc", numbers, strict=True)]
        for side, numbers in (("left", (400, 200, 30)), ("stayed", (600, 310, 240)))
    }
    step = beside.clearest((row["step"], pair) for row, pair in beside.funnel_pairs(funnel))
    assert step is not None
    assert (step[0], step[1].left, step[1].stayed) == ("c", 30, 240)


async def test_the_funnel_takes_the_steps_of_the_address(path: Path) -> None:
    async with console(path) as client:
        page = (await client.get(f"/journeys?steps=web+%3E+call&fplace=channel&{SCOPE}")).text
        link = next(each for each in read(page).links if "view=funnel" in each)
        people = await behind(client, link)
    rows = table(page, "Step")
    assert [row[0] for row in rows] == ["Web", "Call centre"]
    ((first,),) = asked(
        path, f"SELECT count(DISTINCT customer_id) FROM touchpoints WHERE channel = 'web' AND {WINDOW}"
    )
    assert int(rows[0][1]) == len(people) == first


@pytest.mark.parametrize(
    ("language_", "steps", "names"),
    [("en", "discover>Buy", ["Discover", "Buy"]), ("pl", "Zakup > nosuch", ["Zakup", "Nosuch"])],
)
async def test_the_funnel_takes_words_of_the_page_and_shows_steps_that_nobody_reaches(
    path: Path, language_: str, steps: str, names: list[str]
) -> None:
    async with console(path) as client:
        client.cookies.set("language", language_)
        page = (await client.get("/journeys", params={"period": "28d", "steps": steps})).text
    shown = next(each for each in read(page).tables if each[0][0] in ("Step", "Krok"))[1:]
    assert [row[0] for row in shown] == names
    assert (shown[-1][1] == "0") == (names[-1] == "Nosuch")


async def test_not_to_need_help_is_no_loss(tmp_path: Path) -> None:
    stages = ("consideration", "purchase", "service", "loyalty")
    rows = [
        touchpoint(offset=n, stage=stage, time=START + timedelta(hours=n)) for n, stage in enumerate(stages)
    ]
    async with console(warehouse(tmp_path / "w.duckdb", rows)) as client:
        page = (await client.get("/journeys")).text
    assert [row[0] for row in table(page, "Step")] == ["Choose", "Buy", "Stay"]
    assert "a customer who needs no help is not lost" in page


# Service


async def test_service_is_that_of_the_contacts(path: Path) -> None:
    async with console(path) as client:
        page = (await client.get(f"/service?{SCOPE}")).text
        rows = table(page, "Channel")
        link = next(each for each in read(page).links if "of=abandoned" in each and "cell=" not in each)
        lost = sum(int(row["rows"]) for row in await behind(client, link))
        agents = await downloaded(client, f"/service.csv?table=agents&{SCOPE}")
        weekly = await downloaded(client, f"/service.csv?table=weeks&{SCOPE}")
    wanted = asked(
        path,
        f"""
        SELECT count(*) FILTER (kind = 'contact'), count(*) FILTER (kind = 'contact' AND abandoned),
            count(*) FILTER (kind = 'complaint_opened') FROM touchpoints
        WHERE {WINDOW} GROUP BY channel
        """,
    )
    assert sorted((int(row[1]), int(row[2])) for row in rows) == sorted((row[0], row[2]) for row in wanted)
    assert lost == sum(row[1] for row in wanted)
    # The order of agents is that of the share that few contacts do not move much; too few stand last.
    shares = [
        float(row["fcr_shrunk"]) for row in agents if row["fcr_shrunk"] and int(row["first_contacts"]) >= 10
    ]
    assert shares == sorted(shares)
    counts = asked(
        path, f"SELECT count(*) FROM touchpoints WHERE kind = 'contact' AND agent IS NOT NULL AND {WINDOW}"
    )
    assert sum(int(row["contacts"]) for row in agents) == counts[0][0]
    assert int(weekly[-1]["contacts"]) == sum(row[0] for row in wanted)


async def test_resolution_at_first_contact_is_of_channels_that_can_resolve(tmp_path: Path) -> None:
    rows = []
    for n in range(40):
        # Calls say whether they resolved; nobody answers a post.
        channel, resolved = ("call", n % 3 > 0) if n % 2 else ("social", None)
        rows.append(
            touchpoint(
                customer_id=n + 1,
                offset=n,
                kind="contact",
                channel=channel,
                topic="invoice",
                resolved=resolved,
            )
        )
        if n % 4 == 1:
            rows.append({**rows[-1], "offset": 100 + n, "time": START + timedelta(days=2)})
    rows.append(touchpoint(customer_id=99, offset=999, time=START + timedelta(days=20)))
    async with console(warehouse(tmp_path / "w.duckdb", rows)) as client:
        page = read((await client.get("/service?since=2026-03-02&until=2026-03-05")).text)
        # 20 customers called, 10 of them again: the posts of the other 20 count as no success.
        assert "50%" in page.text
        assert "20 contacts, until 5 Mar" in page.text
        assert "of the channels that say whether they resolved: Call centre" in page.text
        link = next(each for each in page.links if "of=first_resolved" in each and "channel%3Dcall" in each)
        assert len(await behind(client, link)) == 10
        late = read((await client.get("/service?since=2026-03-15&until=2026-03-23")).text)
        assert "is known 7 days after a contact" in late.text


async def test_who_needs_training_stands_by_topic_and_few_contacts_lead_no_list(tmp_path: Path) -> None:
    scope = "since=2026-03-02&until=2026-03-05"
    end = touchpoint(customer_id=9999, offset=9999, time=START + timedelta(days=20))

    def contact(n: int, agent: str, customer: int, days: int = 0) -> dict[str, Any]:
        time = START + timedelta(days=days, minutes=n)
        return touchpoint(
            offset=n, customer_id=customer, kind="contact", channel="call", topic="invoice", agent=agent,
            resolved=True, time=time,
        )  # fmt: skip

    alike = [contact(n, f"a{n % 3}", n + 1) for n in range(180)]
    # Each customer of zoe calls again; rare is worse still, of two contacts.
    zoe = [contact(200 + 2 * n + k, "zoe", 500 + n, k) for n in range(60) for k in (0, 1)]
    rare = [contact(400 + 2 * n + k, "rare", 700 + n, k) for n in range(2) for k in (0, 1)]
    texts = []
    for name, rows in (("needs", alike + zoe + rare), ("alike", alike), ("few", alike[:4]), ("none", [])):
        async with console(warehouse(tmp_path / f"{name}.duckdb", [*rows, end]), release_seconds=0) as client:
            text = (await client.get(f"/service?{scope}")).text
            texts.append(read(text).text)
            if name == "needs":
                needs = next(each for each in read(text).tables if each[0][1] == "Topic")[1:]
                agents = [row[0] for row in table(text, "Agent")]
                link = next(each for each in read(text).links if "view=training" in each)
                people = await behind(client, link)
                found = await client.get("/find?q=training")
    assert [row[0] for row in needs] == ["zoe"]
    assert needs[0][2] == "120" == str(sum(int(row["rows"]) for row in people))
    assert "Resolved at first contact" in needs[0][3]
    assert agents[0] == "zoe"
    assert agents[-1] == "rare"
    assert "Nobody is worse at a topic" in texts[1]
    assert "Too few contacts to compare" in texts[2]
    assert "names both its agent and its topic" in texts[3]
    assert "/service" in found.text


async def test_nobody_gives_up_an_email_while_waiting(tmp_path: Path) -> None:
    rows = [
        touchpoint(
            customer_id=n + 1,
            offset=n,
            kind="contact",
            topic="invoice",
            # E-mails say nothing of waiting; one of them was abandoned otherwise.
            **(
                {"channel": "call", "wait_s": 30.0, "abandoned": n % 4 == 0}
                if n < 40
                else {"channel": "email", "abandoned": n == 50}
            ),
        )
        for n in range(140)
    ]
    file = warehouse(tmp_path / "w.duckdb", rows)
    scope = "since=2026-03-02&until=2026-03-05"
    async with console(file, release_seconds=0) as client:
        page = read((await client.get(f"/service?{scope}")).text)
        groups = {
            by: await downloaded(client, f"/service.csv?{scope}&by={by}") for by in ("channel", "topic")
        }
        weekly = await downloaded(client, f"/service.csv?table=weeks&{scope}")
        link = next(each for each in page.links if "of=abandoned" in each and "cell=" not in each)
        lost = await behind(client, link)
    ((share, count),) = asked(
        file,
        """SELECT avg(abandoned::INTEGER), count(*) FILTER (abandoned) FROM touchpoints
        WHERE channel IN (SELECT channel FROM touchpoints WHERE wait_s IS NOT NULL)""",
    )
    assert (share, count) == (0.25, len(lost))
    assert "25.0% [" in page.text
    assert "of channels that record waiting: Call centre." in page.text
    assert {row["channel"]: row["abandonment"] for row in groups["channel"]} == {"call": "0.25", "email": ""}
    for (row,) in (groups["topic"], weekly):
        assert (row["contacts"], row["queued"], float(row["abandonment"])) == ("140", "40", share)


# Quality


async def test_quality_counts_what_the_sources_delivered(tmp_path: Path) -> None:
    file = warehouse(tmp_path / "w.duckdb", ROWS)
    with duckdb.connect(str(file)) as connection:
        connection.execute(
            """
            INSERT INTO rejected (day, source, reason, records) VALUES
            ('2026-03-10', 'shop', 'invalid', 7), ('2026-03-11', 'shop', 'too_late', 2), ('2026-03-10', NULL, 'malformed', 4),
            (NULL, NULL, 'malformed', 30), ('2025-01-01', 'shop', 'too_late', 1), ('2026-03-01', 'shop', 'invalid', 8)
            """
        )
    async with console(file) as client:
        page = (await client.get(f"/quality?{SCOPE}")).text
        today = (await client.get(f"/today?{SCOPE}")).text
        polish = (await client.get(f"/quality?{SCOPE}", headers={"accept-language": "pl"})).text
    assert "błędne 7, zbyt późne 2" in polish
    for each in (page, today):
        assert "30 rejected records have no day that can be read. 1 came too late, of a day before" in each
    wanted = asked(
        file, f"SELECT source, count(*), count(*) FILTER (late) FROM touchpoints WHERE {WINDOW} GROUP BY 1"
    )
    tables = [each for each in read(page).tables if each[0][0] == "Source"]
    found = {row[0]: row for row in tables[0][1:]}
    for source, touchpoints, late in wanted:
        assert [found[source][1].replace(",", ""), found[source][5]] == [str(touchpoints), str(late)]
    assert (found["shop"][2], found["no source named"][2]) == ("9", "4")
    assert {row[0]: row[2] for row in tables[1][1:]}["shop"] == "invalid 7, too late 2"
    # What no period counts is listed, so that no rejected record is nowhere.
    uncounted = [each[1:] for each in read(page).tables if each[0][:3] == ["Source", "Reason", "No day"]]
    assert uncounted == [
        [["shop", "too late", "0", "1", "0"], ["no source named", "malformed", "30", "0", "0"]]
    ]
    total = sum(row[1] for row in wanted)
    assert f"{total:,} records accepted, 13 rejected" in " ".join(read(page).text.split())
    assert "/rejected" in read(page).links


async def test_rejected_records_of_simulated_data_are_not_counted_as_none(tmp_path: Path) -> None:
    file = warehouse(tmp_path / "w.duckdb", ROWS)
    with duckdb.connect(str(file)) as connection:
        connection.execute(
            "INSERT INTO rejected (day, source, reason, records) VALUES ('2026-11-01', 'shop', 'invalid', 155)"
        )
    async with console(file) as client:
        pages = [(await client.get(f"/{name}?{SCOPE}")).text for name in ("quality", "today")]
    said = "not known for this period: rejected records are counted by the day they arrived."
    for page in pages:
        text = " ".join(read(page).text.split())
        assert said in text
        assert "155 rejected records arrived over a week after the last touchpoint." in text
        assert "0 rejected" not in text
    assert not any("0.00%" in row for each in read(pages[0]).tables for row in each)
    with duckdb.connect(str(file)) as connection:
        connection.execute("UPDATE rejected SET day = '2026-03-21'")
    async with console(file) as client:
        page = (await client.get(f"/quality?{SCOPE}")).text
    assert " 0 rejected" in " ".join(read(page).text.split())


# Consistency


async def test_differences_between_channels_are_those_of_their_means(path: Path) -> None:
    async with console(path) as client:
        rows = await downloaded(client, f"/consistency.csv?{SCOPE}&of=product")
        page = (await client.get(f"/consistency?{SCOPE}&of=product")).text
        links = [each for each in read(page).links if "of=repeats_elsewhere" in each]
        again = [sum(int(row["rows"]) for row in await behind(client, link)) for link in links]
    for row in rows:
        counted = asked(
            path,
            f"""
            SELECT channel, avg(satisfaction_after::DOUBLE) FROM touchpoints
            WHERE product = '{row["item"]}' AND {WINDOW}
                AND kind NOT IN ('email_sent', 'campaign_sent', 'action_taken', 'churned', 'won_back', 'purchase_history')
            GROUP BY channel
            """,
        )
        means = [mean for _, mean in counted]
        assert float(row["satisfaction_spread"]) == pytest.approx(max(means) - min(means))
    shown = table(page, "Product")
    assert [row[0] for row in shown] == [row["item"] for row in rows]
    assert again == [int(row["repeats_elsewhere"]) for row in rows if int(row["repeats_elsewhere"])]


# Filters


async def test_what_a_part_cannot_be_filtered_by_is_said(path: Path) -> None:
    async with console(path) as client:
        for page, count in (("/today", 1), ("/quality", 1), ("/touchpoints", 0), ("/service", 0)):
            for dimension in ("source", "segment", "team", "level"):
                answer = await client.get(f"{page}?where={dimension}=web&{SCOPE}")
                assert answer.status_code == 200, (page, dimension)
                said = answer.text.count("and show everything; the others are filtered")
                # No teams are set, so nothing can be filtered by them. No filter holds for the alerts of Today.
                by_source = 1 if page == "/today" else 0
                assert said == (by_source if dimension == "source" else max(count, dimension == "team")), (
                    page,
                    dimension,
                )
        offered = (await client.get(f"/quality?{SCOPE}")).text
        assert '<option value="source="' in offered
        assert '<option value="segment="' not in offered
        plain = await downloaded(client, f"/quality.csv?{SCOPE}")
        assert await downloaded(client, f"/quality.csv?{SCOPE}&where=segment=gold") == plain
        for address in ("/queue?level=foo", "/queue?sort=foo", "/service?by=foo", "/campaigns?credit=foo"):
            answer = await client.get(address)
            assert (answer.status_code, "=foo" in answer.text) == (400, True), address
        # An order that saved views may have, but these data have not.
        assert (await client.get("/queue?sort=money&level=")).status_code == 200
        # What is nothing stays an error, in the words of an address; the API takes what the command takes.
        answer = await client.get("/quality?where=nothing=1")
        assert (answer.status_code, "--" in read(answer.text).text) == (400, False)
        assert (await client.get("/api/v1/views/quality?where=segment=gold")).status_code == 400


async def test_texts_are_counted_by_sentiment_topic_and_day(path: Path) -> None:
    wanted: dict[Any, list[int]] = {}
    for day, topic, sentiment in asked(
        path, f"SELECT day, topic, sentiment FROM touchpoints WHERE {WINDOW} AND sentiment IS NOT NULL"
    ):
        for key in ("all", ("topic", topic), ("day", day), (topic, day)):
            counts = wanted.setdefault(key, [0, 0, 0])
            counts[0] += 1
            counts[1] += sentiment < -0.05
            counts[2] += sentiment > 0.05
    async with console(path) as client:
        page = (await client.get(f"/voice?{SCOPE}")).text
        topics = next(each for each in read(page).tables if each[0][:2] == ["Topic", "Texts"])[1:]
        days = next(each for each in read(page).tables if each[0][:2] == ["Day", "Texts"])[1:]
        rows = await downloaded(client, f"/voice.csv?table=texts&{SCOPE}")
        texts, negative, _ = wanted["all"]
        links = [each for each in read(page).links if "of=negative_texts" in each and "cell" not in each]
        people = await behind(client, links[0])
    who = (
        f"SELECT count(DISTINCT customer_id), count(*) FROM touchpoints WHERE {WINDOW} AND sentiment < -0.05"
    )
    assert (len(people), negative) == asked(path, who)[0]
    names = {key[1]: counts for key, counts in wanted.items() if key[0] == "topic"}
    assert sum(counts[0] for counts in names.values()) == texts
    for name, number, less, _, more, _ in topics:
        counts = names[None if name == "no topic" else name]
        assert number == str(counts[0])
        shares = [f"{100 * part / counts[0]:.0f}%" for part in counts[1:]]
        assert counts[0] < 10 or [less.partition("%")[0] + "%", more.partition("%")[0] + "%"] == shares
    assert [row[1] for row in days] == [
        str(wanted["day", day][0]) for _, day in sorted(key for key in wanted if key[0] == "day")
    ]
    found = {(row["topic"] or None, row["period"][:10]): row for row in rows}
    assert {
        key: [int(row[name]) for name in ("texts", "negative_texts", "positive_texts")]
        for key, row in found.items()
    } == {
        (key[0], str(key[1])): counts
        for key, counts in wanted.items()
        if key != "all" and key[0] not in {"topic", "day"}
    }


async def test_without_sentiment_the_page_says_why(tmp_path: Path) -> None:
    other = warehouse(tmp_path / "w.duckdb", [touchpoint(customer_id=1, offset=1)])
    async with console(other) as client:
        assert "No text has a sentiment" in (await client.get("/voice")).text
