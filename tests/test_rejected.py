"""Rejected records: listed, explained, sent again once and never twice."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiokafka
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from click.testing import CliRunner, Result

from console_app import OWN, console, warehouse
from console_app import read as html
from cxstream.cli import group
from cxstream.console.people import add_person
from cxstream.kafka.admin import administration, look
from cxstream.kafka.connection import connection
from cxstream.kafka.reader import TopicReader, reading
from cxstream.model.errors import BrokerError, InputError
from cxstream.model.kinds import BY_TYPE
from cxstream.model.parameters import OwnKind
from cxstream.rejected import fix as fixes
from cxstream.rejected import resend as resending
from cxstream.rejected.explain import _wanted, explain
from cxstream.rejected.glimpse import glimpse
from cxstream.rejected.listing import Filters, from_source, scan
from cxstream.rejected.plan import plan
from cxstream.rejected.record import EXPLANATION, Place, Rejection, marker_headers, read
from cxstream.rejected.resend import Order, resend
from cxstream.scoring.codec.vocabulary import vocabulary
from cxstream.topology import FORGET, REJECTED, SCORES, TOUCHPOINTS, topology
from cxstream.validate.locate import at_byte, at_path
from cxstream.wire.schema import touchpoint as touchpoint_schema
from validity import validate
from view_rows import touchpoint as row
from workers import READY_SECONDS, Watcher, WorkerProcess, key_of, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.settings import Settings

SECONDS = 90.0


def rejection(value: bytes | None, reason: str = "invalid", field: str = "", **more: Any) -> Rejection:
    place = Place(TOUCHPOINTS.name, 0, 7)
    key = key_of(value) if value is not None else None
    given = {"key": key, "headers": [], **more}
    return Rejection(place, reason, field, 1_700_000_000_000, 3, value=value, **given)


def event(**data: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(touchpoint("anna", 1, "contact", **{"channel": "call", **data}))
    return found


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


# --- places and records


@pytest.mark.parametrize("text", ["cx.touchpoints-3-1742", "3-1742"])
def test_place(text: str) -> None:
    place = Place.parse(text, TOUCHPOINTS.name)
    assert place == Place(TOUCHPOINTS.name, 3, 1742)
    assert Place.parse(str(place), TOUCHPOINTS.name) == place


@pytest.mark.parametrize("text", ["", "17", "x-1-", "cx.touchpoints-1", "-1-2-x"])
def test_no_place(text: str) -> None:
    with pytest.raises(InputError, match="is no place"):
        Place.parse(text, TOUCHPOINTS.name)


class Written:
    """As much of a consumer's record as is read."""

    timestamp, offset, key, value = 5, 6, b"k", b"v"

    def __init__(self, headers: list[tuple[str, bytes]]) -> None:
        self.headers = tuple(headers)


def test_headers_of_the_record_are_its_own_even_with_the_names_of_the_explanation() -> None:
    own = [("reason", b"mine"), ("topic", b"elsewhere")]
    said = [
        (name, text) for name, text in zip(EXPLANATION, (b"invalid", b"f", b"t", b"1", b"2"), strict=True)
    ]
    found = read(Written([*own, *said]))
    assert found is not None
    assert (found.reason, found.field, found.place, found.headers) == ("invalid", "f", Place("t", 1, 2), own)
    marker = read(Written(marker_headers(found)))
    assert marker is not None
    assert (marker.is_marker, marker.place, marker.headers) == (True, found.place, own)


@pytest.mark.parametrize(
    "headers",
    [[], [("reason", b"x")], [(name, b"x") for name in EXPLANATION], [(name, None) for name in EXPLANATION]],
)
def test_what_does_not_explain_itself_is_none(headers: list[tuple[str, bytes]]) -> None:
    assert read(Written(headers)) is None


@pytest.mark.parametrize(("value", "said"), [(b"t-0-1", "t-0-1"), (b"\xff", "\\xff"), (None, "")])
def test_where_a_record_says_it_was_sent_from_may_be_anything(value: bytes | None, said: str) -> None:
    assert rejection(b"x", headers=[("resent-from", value)]).resent_from == said


class Paused:
    """As much of a consumer as a reader uses: one fetch that has everything."""

    def __init__(self) -> None:
        self.paused = True

    def seek(self, tp: Any, offset: int) -> None:
        self.at = offset

    def resume(self, tp: Any) -> None:
        self.paused = False

    def pause(self, tp: Any) -> None:
        self.paused = True

    async def beginning_offsets(self, tps: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: list[Any]) -> dict[Any, int]:
        return dict.fromkeys(tps, 9)

    async def getmany(self, tp: Any, timeout_ms: int) -> dict[Any, list[Any]]:
        record = Written([])
        record.offset = self.at  # type: ignore[misc]
        self.at = 9
        return {tp: [[record]]}

    async def position(self, tp: Any) -> int:
        return self.at


async def test_who_reads_one_record_leaves_no_fetch_behind() -> None:
    consumer = Paused()
    reader = TopicReader(consumer, {"t": 1}, topology())
    assert (await reader.one("t", 0, 5)).offset == 5
    assert consumer.paused
    assert (await reader.first("t", 0, 2, 9)).offset == 2
    assert consumer.paused
    assert await reader.one("t", 0, 9) is None


async def test_a_request_to_be_erased_is_not_looked_up_among_the_touchpoints() -> None:
    class Reader:
        topology = topology()

        async def one(self, *_: Any) -> Any:
            return Written([])

    reader: Any = Reader()
    lost = rejection(None)
    assert (await from_source(reader, lost)).value == b"v"
    request = replace(lost, place=Place(FORGET.name, 0, 7))
    assert await from_source(reader, request) == request


# --- where it is wrong


def test_the_place_of_a_field() -> None:
    text = b' {"id": "\xc5\x82\\"}", "data": {"score": 3, "x": [1, {"score": 9}], "score" : 12.5 } }'
    found = at_path(text, "data.score")
    assert found is not None
    assert found.text[found.start : found.end] == "12.5"
    line, carets = found.excerpt()
    assert line[carets.index("^") : carets.rindex("^") + 1] == "12.5"


def test_the_place_of_a_missing_field_is_the_object_that_lacks_it() -> None:
    found = at_path(b'{"data": {"channel": "web"}}', "data.score")
    assert found is not None
    assert found.text[found.start : found.end] == '{"channel": "web"}'


@pytest.mark.parametrize("text", [b"", b"{", b'{"a":', b"\xff", b'{"a" 1}', b"[" * 100_000])
def test_no_place_in_what_is_no_json(text: bytes) -> None:
    found = at_path(text, "a.b")
    assert found is None or found.start == 0


def test_excerpt_of_a_long_record_keeps_to_one_line() -> None:
    text = b"x" * 500 + b"\n\t!" + b"y" * 500
    line, carets = at_byte(text, 502).excerpt()
    assert len(line) < 140
    assert line[carets.index("^")] == "!"
    assert line.isprintable()


def test_explains_a_wrong_value_with_its_schema() -> None:
    found = explain(rejection(raw({**event(), "data": {"channel": "web"}}), field="data.channel"))
    assert found.problem is not None
    assert (found.problem.reason, found.problem.field) == ("invalid", "data.channel")
    assert found.where is not None
    assert found.where.text[found.where.start : found.where.end] == '"web"'
    assert found.wanted is not None
    assert found.wanted["enum"] == ["call", "chat", "email", "store", "social"] or set(
        found.wanted["enum"]
    ) == {
        "call",
        "chat",
        "email",
        "store",
        "social",
    }


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("given", ["cx.touchpoint.nope.v1", None])
def test_explains_a_type_that_is_unknown_or_missing_in_a_few_lines(given: str | None, binary: bool) -> None:
    said = {**event(), "type": given}
    if given is None:
        del said["type"]
    headers = [(f"ce_{name}", str(value).encode()) for name, value in said.items() if name != "data"]
    binary_record = rejection(raw(said["data"]), headers=headers, key=b"anna")
    found = explain(binary_record if binary else rejection(raw(said)))
    assert found.problem is not None
    assert found.problem.field == "type"
    assert found.wanted is not None
    shown = json.dumps(found.wanted)
    assert len(shown) < 400
    assert "docs/events.md" in shown
    assert "ce_type" in shown
    assert set(found.wanted["examples"]) < set(BY_TYPE)


@pytest.mark.parametrize("event_type", BY_TYPE)
def test_what_the_schema_wants_is_shown_in_a_few_lines(event_type: str) -> None:
    record = rejection(raw({**event(), "type": event_type}))
    properties = touchpoint_schema(BY_TYPE[event_type])["properties"]
    fields = [*properties, *(f"data.{name}" for name in properties["data"]["properties"])]
    assert [name for name in fields if len(json.dumps(_wanted(record, name))) > 600] == []


def test_explains_what_is_no_json() -> None:
    value = b'{"specversion":"1.0",,}'
    found = explain(rejection(value, "malformed", key=None))
    assert found.where is not None
    assert found.where.start == 21
    assert found.wanted is None


def test_explains_a_wrong_key() -> None:
    found = explain(rejection(raw(event()), field="key", key=b"berta"))
    assert found.problem is not None
    assert found.problem.field == "key"
    assert found.where is not None
    assert found.where.text[found.where.start : found.where.end] == '"anna"'


def test_explains_that_the_value_was_taken_as_data() -> None:
    given = replace(
        rejection(raw(event()), field="type"),
        headers=[("content-type", b"application/json"), ("trace", None)],
    )
    assert "taken as `data` (binary mode)" in explain(given).message
    assert "`data`" not in explain(replace(given, headers=[("content-type", None)])).message


def test_explains_a_content_type_that_is_not_read() -> None:
    given = replace(rejection(raw(event())), headers=[("content-type", b"application/cloudevents+avro")])
    assert "application/cloudevents+avro is not read" in explain(given).message


def test_explains_a_request_without_a_value_by_its_key() -> None:
    given = replace(rejection(None, field="key", key=b"\xff"), place=Place(FORGET.name, 0, 7))
    found = explain(given)
    assert (found.problem, found.where) == (None, None)
    assert "an erasure request" in found.message
    assert "no value" in explain(rejection(None)).message


def test_explains_a_time_that_was_wrong_then() -> None:
    assert "too late again" in explain(rejection(raw(event()), "too_late", "time")).message


# --- fixes


def fixed(tmp_path: Path, text: str, value: Any, **more: Any) -> list[Any]:
    path = tmp_path / "fix.toml"
    path.write_text(textwrap.dedent(text))
    return [json.loads(one) for one in fixes.load(path)(rejection(raw(value), **more))]


def test_fixes_that_fit_are_applied_in_order(tmp_path: Path) -> None:
    text = """
        [[fix]]
        when = { type = "cx.touchpoint.contact.v1", "data.channel" = ["phone", "telephone"] }
        rename = { "data.waited" = "data.wait_s" }
        map = { "data.channel" = { phone = "call" } }
        drop = ["data.score", "data.no.such"]

        [[fix]]
        set = { "data.stage" = "service" }

        [[fix]]
        when = { "data.stage" = "loyalty" }
        set = { "data.stage" = "never" }
    """
    [found] = fixed(tmp_path, text, event(channel="phone", waited=30, score="x", agent="a"))
    assert found["data"] == {"channel": "call", "wait_s": 30, "agent": "a", "stage": "service"}
    assert validate(raw(found)) is None


def test_a_fix_keeps_id_and_source(tmp_path: Path) -> None:
    with pytest.raises(fixes.UnfixableError, match="changes its id"):
        fixed(tmp_path, "[[fix]]\nset = { id = 'other' }", event())
    with pytest.raises(fixes.UnfixableError, match="changes its source"):
        fixed(tmp_path, "[[fix]]\ndrop = ['source']", event())
    [found] = fixed(tmp_path, "[[fix]]\nset = { id = 'new' }", {**event(), "id": ""})
    assert found["id"] == "new"


def test_an_event_of_ones_own_kind_is_sent_once_the_rules_name_it() -> None:
    lost = {**event(channel="web", order_id="o-1"), "type": "cx.touchpoint.parcel_lost.v1"}
    given = rejection(raw(lost), key=b"anna")
    where = {"topology": topology(), "partitions": 4, "latest_ms": LATEST}
    assert "[scoring.kinds.parcel_lost]" in plan(given, None, **where).refusal
    kinds = {"parcel_lost": OwnKind(effort=4, requires=("order_id",))}
    [ready] = plan(given, None, **where, vocabulary=vocabulary(kinds)).events
    assert ready.value == given.value


def test_a_set_of_rules_is_not_sent_again() -> None:
    tick = {"specversion": "1.0", "id": "1", "source": "/rules", "time": "2024-03-01T00:00:00Z"}
    given = rejection(raw({**tick, "type": "cx.rules.v1", "data": {}}), reason="from_the_future")
    refusal = plan(given, None, topology=topology(), partitions=4, latest_ms=LATEST).refusal
    assert "cxstream rules apply" in refusal


def test_a_record_that_no_fix_fits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(fixes.UnfixableError, match=r"no \[\[fix\]\] fits"):
        fixed(tmp_path, "[[fix]]\nwhen = { subject = 'berta' }\ndrop = ['data']", event())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[fix]]\n", "does nothing"),
        ("[[fix]]\nsett = {}\ndrop=['x']", "sett"),
        ("fix = 3", "fix"),
        ("[[fix", "docs/oncall.md"),
        ("[input]\nformat = 'csv'", "docs/convert.md"),
    ],
)
def test_a_file_that_is_neither_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "fix.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        fixes.load(path)


MAPPING = """
    [defaults]
    source = "/old-crm"
    subject = { column = "customer" }
    time = { column = "at", format = "epoch_s" }

    [[event]]
    kind = "error"
    when = { what = "error" }
    data.channel = "web"
"""


def test_a_mapping_file_makes_events_of_records_that_are_none(tmp_path: Path) -> None:
    row = {"customer": "anna", "at": 1_741_000_000, "what": "error"}
    [found] = fixed(tmp_path, MAPPING, row, key=None)
    assert validate(raw(found)) is None
    assert (found["id"], found["source"], found["subject"]) == ("cx.touchpoints-0:7", "/old-crm", "anna")
    assert fixed(tmp_path, MAPPING, row, key=None) == [found]
    with pytest.raises(fixes.UnfixableError, match="customer"):
        fixed(tmp_path, MAPPING, {**row, "customer": None}, key=None)


# --- fixes that are proposed


@pytest.mark.parametrize(
    "value",
    [
        event(channel="phone"),
        event(channel="phone", wait_s="420", resolved="yes", late_days=-1, hashtags=["a", 5]),
        {**event(), "type": "cx.touchpoint.contcat.v1", "specversion": 1},
        {**event(), "id": 17, "time": "2025-03-01 12:30:00Z"},
        {name: text for name, text in {**event(), "customer_id": "anna"}.items() if name != "subject"},
        {**event(), "source": 'a "b" \\ \n\u202e\U000e0001\x7f c', "data": {"channel": 'Phone"\u202e'[:5]}},
        {**event(), "data": {"chanel": "call"}},
    ],
)
def test_a_fix_is_proposed_that_makes_the_record_valid(tmp_path: Path, value: Any) -> None:
    given = rejection(raw(value), key=b"anna")
    found = explain(given)
    assert found.fix is not None
    assert found.fix.replace("\n", "").isprintable()
    path = tmp_path / "fix.toml"
    path.write_text(found.fix)
    [ready] = plan(given, fixes.load(path), topology=topology(), partitions=4, latest_ms=LATEST).events
    assert validate(ready.value) is None
    others = rejection(raw({**event(channel="phone"), "source": "/elsewhere"}))
    with pytest.raises(fixes.UnfixableError, match=r"no .* fits"):
        fixes.load(path)(others)


@pytest.mark.parametrize(
    "value",
    [
        event(channel="web"),
        event(channel="phone", wait_s=[]) | {"time": "2025-03-01T12:30:00"},
        {**event(), "id": ""},
        {**event(), "type": "cx.touchpoint.contact.v2"},
        event(),
    ],
)
def test_no_fix_is_proposed_where_it_would_be_a_guess(value: Any) -> None:
    assert explain(rejection(raw(value))).fix is None
    assert explain(rejection(b"no json", "malformed")).fix is None


def test_values_of_a_proposed_fix_survive_toml(tmp_path: Path) -> None:
    given = {
        **event(channel="phone"),
        "source": "".join(map(chr, [*range(1, 0x250), 0x2028, 0xFFFF, 0x10FFFF]))[:250],
    }
    fix = explain(rejection(raw(given))).fix
    assert fix is not None
    path = tmp_path / "fix.toml"
    path.write_text(fix)
    [found] = fixes.load(path)(rejection(raw(given)))
    assert json.loads(found)["source"] == given["source"]


# --- at a glance


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (rejection(raw(event(channel="phone")), field="data.channel"), '"phone"'),
        (rejection(raw(event(text="x" * 5000)), field="data.text"), '"' + "x" * 59 + "..."),
        (rejection(raw({**event(), "data": {}}), field="data.channel"), "missing"),
        (rejection(raw(event()), field="key", key=b"berta"), '"anna"'),
        (rejection(b"no json", "malformed"), "no json"),
        (rejection(b"\xff" * 500, "malformed"), "\ufffd" * 60 + "..."),
        (rejection(raw(event()), "failed"), ""),
        (rejection(None), ""),
    ],
)
def test_a_record_at_a_glance(given: Rejection, value: str) -> None:
    assert glimpse(given).value == value


def test_source_and_kind_at_a_glance() -> None:
    found = glimpse(rejection(raw({**event(channel="phone"), "source": "s" * 500})))
    assert (found.source, found.kind, found.raw) == ("s" * 60 + "...", "contact", True)
    hidden = glimpse(rejection(None, key=b"0a" * 32))
    assert (hidden.source, hidden.kind, hidden.raw) == ("", "", False)


# --- what can be sent

LATEST = 1_900_000_000_000


def test_plan_routes_by_the_contract_and_says_where_it_came_from() -> None:
    made = plan(
        rejection(raw(event()), field="key", key=b"x"),
        None,
        topology=topology(),
        partitions=4,
        latest_ms=LATEST,
    )
    [ready] = made.events
    assert ready.key == b"anna"
    assert ready.headers == [("resent-from", b"cx.touchpoints-0-7")]
    assert 0 <= ready.partition < 4


def test_plan_keeps_binary_mode_until_a_fix_makes_it_structured(tmp_path: Path) -> None:
    whole = event()
    data = raw(whole.pop("data"))
    headers = [(f"ce_{name}", text.encode()) for name, text in whole.items()]
    headers += [("content-type", b"application/json"), ("trace", b"1"), ("resent-from", b"earlier")]
    given = rejection(data, key=b"anna", headers=headers)
    [ready] = plan(given, None, topology=topology(), partitions=1, latest_ms=LATEST).events
    assert ready.value == data
    assert ready.headers == [*headers[:-1], ("resent-from", b"cx.touchpoints-0-7")]
    path = tmp_path / "fix.toml"
    path.write_text("[[fix]]\nset = { 'data.agent' = 'a' }")
    [ready] = plan(given, fixes.load(path), topology=topology(), partitions=1, latest_ms=LATEST).events
    assert ready.headers == [("trace", b"1"), ("resent-from", b"cx.touchpoints-0-7")]
    assert json.loads(ready.value)["data"] == {"channel": "call", "agent": "a"}


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (rejection(None), "kept nowhere"),
        (rejection(raw(event(channel="web"))), "still invalid: data.channel"),
        (rejection(b"nope", key=None), "still malformed"),
        (rejection(raw(event()), "too_late", "time"), "too late again"),
        (rejection(raw({**event(), "time": "2099-01-01T00:00:00Z"}), "from_the_future", "time"), "future"),
        (
            rejection(raw({"specversion": "1.0", "id": "1", "source": "/t", "type": "cx.tick.v1", "time": "2020-01-01T00:00:00Z"})),
            "a tick",
        ),
        (replace(rejection(raw(event())), place=Place(FORGET.name, 0, 7)), "use 'cxstream forget'"),
        (replace(rejection(raw(event())), place=Place("mine", 0, 7)), "a record of mine, not of cx.touchpoints"),
    ],
)  # fmt: skip
def test_plan_refuses_what_would_be_rejected_again(given: Rejection, refusal: str) -> None:
    made = plan(given, None, topology=topology(), partitions=4, latest_ms=LATEST)
    assert made.events == []
    assert refusal in made.refusal


def test_plan_sends_what_was_too_late_with_another_time(tmp_path: Path) -> None:
    path = tmp_path / "fix.toml"
    path.write_text("[[fix]]\nset = { time = '2025-04-01T00:00:00Z' }")
    given = rejection(raw(event()), "too_late", "time")
    assert plan(given, fixes.load(path), topology=topology(), partitions=4, latest_ms=LATEST).events


def test_plan_refuses_what_is_longer_than_the_topic_takes() -> None:
    given = rejection(raw(event(text="x" * 5000)))
    [ready] = plan(given, None, topology=topology(), partitions=4, latest_ms=LATEST).events
    size = len(ready.value) + len(ready.key) + sum(len(name) + len(text) for name, text in ready.headers)
    # What a batch adds: 61 bytes, and some for the record.
    assert plan(
        given, None, topology=topology(), partitions=4, latest_ms=LATEST, max_bytes=size + 61 + 20
    ).events
    refused = plan(given, None, topology=topology(), partitions=4, latest_ms=LATEST, max_bytes=size + 61)
    assert refused.events == []
    assert re.search(r"too long: 5,\d\d\d bytes, and cx.touchpoints takes 5,", refused.refusal)


# --- on Kafka


def run(settings: Settings, *arguments: str, **environment: str) -> Result:
    """The command, in a loop of its own."""
    return CliRunner().invoke(
        group, ["rejected", *arguments, "--kafka", settings.kafka],
        env={"CXSTREAM_WORKER__GROUP": settings.worker.group, **environment},
    )  # fmt: skip


BAD = {
    0: [
        touchpoint("anna", 1),
        touchpoint("anna", 2, "contact", channel="phone"),
        touchpoint("anna", 3, "survey_nps", score=11),
        b"no json",
        touchpoint("anna", 4, "contact", channel="phone", topic="invoice"),
    ]
}
FIX = "[[fix]]\nwhen = { 'data.channel' = 'phone' }\nset = { 'data.channel' = 'call' }\n"


@pytest.fixture
def fix(tmp_path: Path) -> Path:
    path = tmp_path / "fix.toml"
    path.write_text(FIX)
    return path


async def rejecting(settings: Settings, tmp_path: Path, *, partitions: int = 1) -> None:
    """Let a worker reject what is bad, and stop it."""
    await write(settings, TOUCHPOINTS.name, BAD)
    await worked(settings, tmp_path, partitions)


async def worked(settings: Settings, tmp_path: Path, partitions: int = 1) -> None:
    """Let a worker work until nothing is left, and stop it."""
    with WorkerProcess(settings, tmp_path / "log") as worker:
        await asyncio.to_thread(worker.ready)
        async with Watcher(settings, partitions) as watcher:
            await until(watcher.all_committed, SECONDS, lambda: worker.log)
        assert await asyncio.to_thread(worker.stop) == 0, worker.log


async def values(settings: Settings, topic: str, partitions: int = 1) -> list[Any]:
    async with Watcher(settings, partitions) as watcher:
        return [record for records in (await watcher.read(topic)).values() for record in records]


async def resent_values(settings: Settings) -> list[Any]:
    return [
        record
        for record in await values(settings, TOUCHPOINTS.name)
        if any(name == "resent-from" for name, _ in record.headers)
    ]


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


@pytest.mark.broker
async def test_list_and_show(settings: Settings, topics: Callable[[int], None], tmp_path: Path) -> None:
    topics(1)
    await rejecting(settings, tmp_path)
    result = await asyncio.to_thread(run, settings, "list")
    assert result.exit_code == 0, result.output
    assert "cx.touchpoints-0-1" in result.output
    assert "By reason and field" in result.output
    assert re.search(r'data.channel +│ "phone" +│ /test +│ contact +│ anna', result.output), result.output
    found = lines(await asyncio.to_thread(run, settings, "list", "--json"))
    assert [(each["place"], each["reason"], each["field"], each["key"]) for each in found] == [
        ("cx.touchpoints-0-1", "invalid", "data.channel", "anna"),
        ("cx.touchpoints-0-2", "invalid", "data.score", "anna"),
        ("cx.touchpoints-0-3", "malformed", "", None),
        ("cx.touchpoints-0-4", "invalid", "data.channel", "anna"),
    ]
    for filters, places in (
        (["--field", "data.score"], ["cx.touchpoints-0-2"]),
        (["--kind", "contact"], ["cx.touchpoints-0-1", "cx.touchpoints-0-4"]),
        (["--source", "/elsewhere"], []),
        (["--reason", "malformed"], ["cx.touchpoints-0-3"]),
        (["--partition", "3"], []),
        (["--until", "1h"], []),
        (["--since", "1h", "--source", "/test", "--reason", "invalid", "--kind", "survey_nps"], ["cx.touchpoints-0-2"]),
    ):  # fmt: skip
        found = lines(await asyncio.to_thread(run, settings, "list", "--json", *filters))
        assert [each["place"] for each in found] == places, filters
    [hidden] = lines(
        await asyncio.to_thread(
            run, settings, "list", "--json", "--field", "data.score", CXSTREAM_PRIVACY__KEY="k" * 32
        )
    )
    assert (hidden["value"], hidden["source"], hidden["kind"]) == (None, "/test", "survey_nps")
    assert hidden["key"] != "anna"
    shown = await asyncio.to_thread(run, settings, "show", "0-1")
    assert "a fix that would make it valid" in shown.output
    path = tmp_path / "pasted.toml"
    path.write_text(shown.output.split("--fix FILE'\n\n")[1].split("\nfor all like it")[0])
    pasted = await asyncio.to_thread(run, settings, "resend", "0-1", "--fix", str(path))
    assert "1 would send" in pasted.output, pasted.output
    shown = await asyncio.to_thread(run, settings, "show", "0-2")
    assert shown.exit_code == 0, shown.output
    assert (
        "because   data.score: must be a whole number from 0 to 10 for kind survey_nps, not the number 11"
        in (shown.output)
    )
    assert '"maximum": 10' in shown.output
    assert "^^" in shown.output
    whole = lines(await asyncio.to_thread(run, settings, "show", "0-3", "--json"))[0]
    assert (whole["reason"], whole["value"]) == ("malformed", "no json")
    missing = await asyncio.to_thread(run, settings, "show", "0-0")
    assert isinstance(missing.exception, InputError)
    await _in_the_console(settings, tmp_path)


async def _in_the_console(settings: Settings, tmp_path: Path) -> None:
    """The same records on the pages of the console; one is mended and sent again."""
    users, path = tmp_path / "users.json", warehouse(tmp_path / "w.duckdb", [row()])
    add_person(users, "ada", "admin", "long enough pw")
    add_person(users, "olek", "agent", "long enough pw")
    sections = {"kafka": settings.kafka, "worker": {"group": settings.worker.group}}
    async with console(path, sections, users_file=users) as client:

        async def sign_in(name: str) -> None:
            client.cookies.clear()
            await client.post("/sign-in", data={"name": name, "password": "long enough pw"}, headers=OWN)

        await sign_in("olek")
        page = html((await client.get("/rejected")).text)
        assert {each[0] for each in page.tables[1][1:]} == {f"cx.touchpoints-0-{n}" for n in range(1, 5)}
        shown = (await client.get("/rejected?place=0-1")).text
        assert "phone" not in page.text + html(shown).text
        assert "Mend and send again" not in shown
        forms = {"place": "0-1", "fix": "1", "like": ""}
        token = re.findall(r'name="form_token" value="([^"]*)"', shown)[0]
        denied = await client.post("/rejected", data={**forms, "form_token": token}, headers=OWN)
        assert denied.status_code == 403
        await sign_in("ada")
        listed = html((await client.get("/rejected?reason=invalid&field=data.channel")).text)
        assert [each[0] for each in listed.tables[1][1:]] == ["cx.touchpoints-0-4", "cx.touchpoints-0-1"]
        assert "phone" in listed.text
        shown = (await client.get("/rejected?place=0-1")).text
        assert "Mend and send again" in shown
        token = re.findall(r'name="form_token" value="([^"]*)"', shown)[0]
        sent = await client.post("/rejected", data={**forms, "form_token": token}, headers=OWN)
        assert sent.status_code == 303, sent.text
        job = ""

        async def is_over() -> bool:
            nonlocal job
            job = (await client.get(sent.headers["location"])).text
            return "data-retry" not in job

        await until(is_over, SECONDS, lambda: job)
        assert re.search(r"<b>1</b> sent\.", job), job
        left = html((await client.get("/rejected?reason=invalid&field=data.channel")).text)
        assert [each[0] for each in left.tables[1][1:]] == ["cx.touchpoints-0-4"]
        assert "has been sent again" in (await client.get("/rejected?place=0-1")).text
        assert (await client.get("/rejected?place=0-99")).status_code == 404
        # Why a record is refused quotes it.
        shown = (await client.get("/rejected?place=0-4")).text
        token = re.findall(r'name="form_token" value="([^"]*)"', shown)[0]
        forms = {"place": "0-4", "fix": "", "like": "", "form_token": token}
        sent = await client.post("/rejected", data=forms, headers=OWN)
        await until(is_over, SECONDS, lambda: job)
        assert re.search(r"<b>1</b> refused\.", job), job
        assert "phone" in html(job).text
        await sign_in("olek")
        assert (await client.get(sent.headers["location"])).status_code == 403
    assert len(await resent_values(settings)) == 1


@pytest.mark.broker
async def test_resent_records_count_once_however_often_they_are_sent(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path, fix: Path
) -> None:
    topics(1)
    await rejecting(settings, tmp_path)
    choice = ("resend", "--field", "data.channel", "--fix", str(fix))
    dry = await asyncio.to_thread(run, settings, *choice)
    assert dry.exit_code == 0, dry.output
    assert "2 would send; a dry run" in dry.output
    assert await resent_values(settings) == []

    sent = await asyncio.to_thread(run, settings, *choice, "--send")
    assert sent.exit_code == 0, sent.output
    assert "2 sent" in sent.output
    again = await asyncio.to_thread(run, settings, *choice, "--send")
    assert again.exit_code == 0, again.output
    assert "2 sent before" in again.output
    # More than the ring of remembered ids in between: only the marker keeps it from counting twice.
    await write(settings, TOUCHPOINTS.name, {0: [touchpoint("anna", n) for n in range(100, 140)]})
    await asyncio.to_thread(run, settings, *choice, "--send", "0-1")
    records = await resent_values(settings)
    assert [dict(record.headers)["resent-from"] for record in records] == [
        b"cx.touchpoints-0-1",
        b"cx.touchpoints-0-4",
    ]
    assert [json.loads(record.value)["id"] for record in records] == ["e2", "e4"]
    await worked(settings, tmp_path)
    card = json.loads(
        [record for record in await values(settings, SCORES.name) if record.key == b"anna"][-1].value
    )
    assert card["data"]["touches"]["90"] == 1 + 2 + 40

    left = lines(await asyncio.to_thread(run, settings, "list", "--json"))
    assert [each["place"] for each in left] == ["cx.touchpoints-0-2", "cx.touchpoints-0-3"]
    everything = lines(await asyncio.to_thread(run, settings, "list", "--json", "--all"))
    assert [each["resent"] for each in everything] == [True, False, False, True]


@pytest.mark.broker
async def test_resend_says_what_it_does_not_send(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)
    await rejecting(settings, tmp_path)
    result = await asyncio.to_thread(run, settings, "resend", "0-2", "0-9", "--send", "--json")
    assert result.exit_code == 1
    assert {each["place"]: each["status"] for each in lines(result)} == {
        "cx.touchpoints-0-2": "refused",
        "cx.touchpoints-0-9": "not found",
    }
    assert await resent_values(settings) == []
    nothing = await asyncio.to_thread(run, settings, "resend")
    assert nothing.exit_code == 2
    assert "say which" in nothing.output


@pytest.mark.broker
async def test_a_record_that_is_too_long_keeps_none_back_and_one_without_a_key_is_sent(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)
    values_ = [touchpoint("anna", n, "contact", channel="call", more="x" * n) for n in (1, 120_000, 2)]
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        for value in values_:
            await producer.send_and_wait(TOUCHPOINTS.name, value, partition=0)
    await worked(settings, tmp_path)
    async with administration(settings) as admin:
        shorter = {**TOUCHPOINTS.config, "max.message.bytes": "100000"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, TOUCHPOINTS.name, shorter)])
        await until(lambda: limited(admin, "100000"), SECONDS, lambda: "not altered")
    planned: list[Any] = []
    results: list[Any] = []
    order = Order(Filters(field="key"), None, send=True)
    await resend(settings, order, results.append, on_planned=lambda *done: planned.append(done))
    assert [each.status for each in results] == ["sent", "refused", "sent"]
    assert "too long: 120," in results[1].message
    assert planned == [(1, 3), (2, 3), (3, 3)]
    assert [record.key for record in await resent_values(settings)] == [b"anna"] * 2
    left = lines(await asyncio.to_thread(run, settings, "list", "--json"))
    assert [each["place"] for each in left] == ["cx.touchpoints-0-1"]


async def limited(admin: Any, limit: str) -> bool:
    [found] = await look(admin, topology(), topics=[TOUCHPOINTS])
    return found.config["max.message.bytes"] == limit


@pytest.mark.broker
async def test_of_two_who_send_at_once_one_is_fenced_and_nothing_is_sent_twice(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path, fix: Path
) -> None:
    topics(1)
    await rejecting(settings, tmp_path)
    order = Order(Filters(field="data.channel"), fixes.load(fix), send=True)
    results: list[Any] = []

    async def one() -> str:
        try:
            await resend(settings, order, results.append)
        except BrokerError as error:
            return str(error)
        return ""

    said = await asyncio.gather(*(one() for _ in range(4)))
    assert "" in said
    # Kafka may answer a commit that meets the claim of another with an error of its own instead of a fence.
    told = ("another 'cxstream rejected resend' has begun", "it sends no record twice")
    assert all(any(each in text for each in told) for text in said if text), said
    found = {(str(each.place), each.status) for each in results}
    assert {place for place, _ in found} == {"cx.touchpoints-0-1", "cx.touchpoints-0-4"}
    assert {status for _, status in found} <= {"sent", "sent before"}
    assert sum(each.status == "sent" for each in results) <= 2
    assert len(await resent_values(settings)) == 2


@pytest.mark.broker
async def test_who_is_fenced_between_two_records_says_that_another_has_begun(
    settings: Settings,
    topics: Callable[[int], None],
    tmp_path: Path,
    fix: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topics(1)
    await rejecting(settings, tmp_path)
    order = Order(Filters(field="data.channel"), fixes.load(fix), send=True)
    results: list[Any] = []
    commit, send = resending._commit, aiokafka.AIOKafkaProducer.send

    async def commit_after_another_claim(*arguments: Any) -> None:
        identity = f"{settings.worker.group}-resend"
        async with aiokafka.AIOKafkaProducer(**connection(settings), transactional_id=identity):
            await commit(*arguments)

    async def send_markers_late(producer: aiokafka.AIOKafkaProducer, topic: str, **record: Any) -> Any:
        if topic == REJECTED.name:
            await asyncio.wait([producer._txn_manager.wait_for_transaction_end()], timeout=SECONDS)
        return await send(producer, topic, **record)

    monkeypatch.setattr(resending, "_commit", commit_after_another_claim)
    monkeypatch.setattr(aiokafka.AIOKafkaProducer, "send", send_markers_late)
    with pytest.raises(BrokerError, match="another 'cxstream rejected resend' has begun"):
        await resend(settings, order, results.append)
    assert results == []


@pytest.mark.broker
async def test_a_marker_behind_the_open_transaction_of_a_worker_is_waited_for(
    settings: Settings,
    topics: Callable[[int], None],
    tmp_path: Path,
    fix: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topics(1)
    await rejecting(settings, tmp_path)
    order = Order(Filters(field="data.channel"), fixes.load(fix), send=True)
    results: list[Any] = []
    async with aiokafka.AIOKafkaProducer(**connection(settings), transactional_id="a-worker") as worker:
        commit, look = resending._commit, resending.scan_partition

        async def commit_behind_a_worker(*arguments: Any) -> None:
            await worker.begin_transaction()
            await worker.send_and_wait(REJECTED.name, b"x", partition=0)
            await commit(*arguments)

        monkeypatch.setattr(resending, "_commit", commit_behind_a_worker)
        await resend(settings, order, results.append)
        assert [each.status for each in results] == ["sent"] * 2
        monkeypatch.setattr(resending, "_commit", commit)
        async with reading(settings, [REJECTED, TOUCHPOINTS]) as reader:
            assert (await scan(reader, Filters())).resent == set()

        looking = asyncio.Event()

        async def look_and_tell(*arguments: Any) -> None:
            looking.set()
            await look(*arguments)

        monkeypatch.setattr(resending, "scan_partition", look_and_tell)
        results.clear()
        second = asyncio.create_task(resend(settings, order, results.append))
        await asyncio.wait_for(looking.wait(), SECONDS)
        await worker.commit_transaction()
        await asyncio.wait_for(second, SECONDS)
    assert [each.status for each in results] == ["sent before"] * 2
    assert len(await resent_values(settings)) == 2


KILLED = """
import asyncio, os, sys
from pathlib import Path
from cxstream.rejected import resend as resending
from cxstream.rejected.fix import load
from cxstream.rejected.glimpse import glimpse
from cxstream.rejected.listing import Filters
from cxstream.settings import load as settings

real = resending.aiokafka.AIOKafkaProducer.commit_transaction

async def killed(self):
    if sys.argv[2] == "after":
        await real(self)
    print("at the commit", flush=True)
    await asyncio.sleep(600)

resending.aiokafka.AIOKafkaProducer.commit_transaction = killed
order = resending.Order(Filters(field="data.channel"), load(Path(sys.argv[1])), send=True)
asyncio.run(resending.resend(settings(), order, print))
"""


@pytest.mark.broker
@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_at_the_commit_and_sent_again(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path, fix: Path, when: str
) -> None:
    topics(1)
    await rejecting(settings, tmp_path)
    environment = {
        **os.environ,
        "CXSTREAM_KAFKA": settings.kafka,
        "CXSTREAM_WORKER__GROUP": settings.worker.group,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, str(fix), when, stdout=subprocess.PIPE, env=environment
    )
    assert child.stdout
    assert await asyncio.wait_for(child.stdout.readline(), READY_SECONDS) == b"at the commit\n"
    child.send_signal(signal.SIGKILL)
    await child.wait()
    result = await asyncio.to_thread(
        run, settings, "resend", "--field", "data.channel", "--fix", str(fix), "--send"
    )
    assert result.exit_code == 0, result.output
    assert ("2 sent" if when == "before" else "2 sent before") in result.output
    records = await resent_values(settings)
    assert [json.loads(record.value)["id"] for record in records] == ["e2", "e4"]


@pytest.mark.broker
async def test_value_that_cx_rejected_does_not_keep_comes_from_the_source(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path, fix: Path
) -> None:
    topics(1)
    await rejecting(settings, tmp_path)
    kept = await values(settings, REJECTED.name)
    await asyncio.to_thread(topics_without_rejected, settings)
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        for record in kept:
            await producer.send_and_wait(
                REJECTED.name, None, key=b"pseudonym", partition=0, headers=list(record.headers)
            )
    found = lines(await asyncio.to_thread(run, settings, "list", "--json", "--kind", "contact"))
    assert [each["place"] for each in found] == ["cx.touchpoints-0-1", "cx.touchpoints-0-4"]
    whole = lines(await asyncio.to_thread(run, settings, "show", "0-3", "--json"))[0]
    assert whole["value"] == "no json"
    sent = await asyncio.to_thread(
        run, settings, "resend", "--field", "data.channel", "--fix", str(fix), "--send"
    )
    assert "2 sent" in sent.output, sent.output
    assert [record.key for record in await resent_values(settings)] == [b"anna", b"anna"]
    assert {record.key for record in await values(settings, REJECTED.name)} == {b"pseudonym"}


def topics_without_rejected(settings: Settings) -> None:
    """Empty cx.rejected, and nothing else."""
    from cxstream.kafka.admin import ensure_topics

    async def work() -> None:
        async with administration(settings) as admin:
            await admin.delete_topics([REJECTED.name])

            async def gone() -> bool:
                return any(
                    not each.partitions for each in await look(admin, topology()) if each.topic is REJECTED
                )

            await until(gone, SECONDS, lambda: "cx.rejected is still there")
        await ensure_topics(settings)

    asyncio.run(work())
