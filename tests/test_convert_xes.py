"""Event logs of process mining (XES) as touchpoints; `test_view_journeys.py` holds real ones against pm4py."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from cxstream.cli.convert import command
from cxstream.convert import stream, xes, xes_reader
from cxstream.convert.report import Problem, Report
from cxstream.convert.run import write
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from cxstream.convert.drafts import Draft


def event(name: str | None, time: str | None, more: str = "") -> str:
    parts = [f'<string key="concept:name" value="{name}"/>'] if name else []
    parts += [f'<date key="time:timestamp" value="{time}"/>'] if time else []
    return f"<event>\n{''.join(parts)}{more}</event>\n"


def trace(case: str, *events: str) -> str:
    return f'<trace>\n<string key="concept:name" value="{case}"/>\n{"".join(events)}</trace>\n'


def log(*traces: str, head: str = '<?xml version="1.0" encoding="UTF-8"?>\n') -> str:
    return f'{head}<log xmlns="http://www.xes-standard.org/">\n{"".join(traces)}</log>\n'


def transition(name: str) -> str:
    return f'<string key="lifecycle:transition" value="{name}"/>'


class Made:
    def __init__(self, path: Path, text: str | bytes, **options: Any) -> None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        self.problems: list[Problem] = []
        self.report = Report(self.problems.append)
        self.drafts: list[Draft] = list(xes.drafts([path], self.report, **options))
        out = io.BytesIO()
        write(self.drafts, out, self.report, in_order=True)
        self.events: list[dict[str, Any]] = [json.loads(line) for line in out.getvalue().splitlines()]


AT = "2026-03-01T10:00:00.000+01:00"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.xes"


def test_an_event_becomes_a_touchpoint_of_its_case(path: Path) -> None:
    more = (
        '<string key="org:resource" value="Ann"/><float key="cost:total" value="12.5"/>'
        '<string key="cost:currency" value="EUR"/><string key="other" value="x"><int key="in" value="3"/></string>'
    )
    made = Made(path, log(trace("c1", event("register &amp; pay", AT, more))))
    (found,) = made.events
    assert len(found.pop("id")) == 32
    assert found == {
        "specversion": "1.0", "source": "xes", "type": "cx.touchpoint.page_view.v1", "subject": "c1",
        "time": "2026-03-01T09:00:00.000Z",
        "data": {"channel": "crm", "touchpoint": "register & pay", "case_id": "c1", "agent": "Ann", "amount": 12.5,
                 "currency": "EUR"},
    }  # fmt: skip
    assert made.report.rows == {str(path): 1}
    assert not made.problems


def test_ids_stay_the_same_in_another_export(path: Path) -> None:
    first = Made(
        path, log(trace("a", event("x", AT), event("y", AT), event("y", AT)), trace("b", event("x", AT)))
    )
    longer = log(
        trace("b", event("x", "2026-03-01T09:00:00Z")),
        trace("a", event("y", AT), event("new", AT), event("y", AT), event("x", AT)),
    )
    second = Made(path, longer)
    ids = {found["id"] for found in first.events}
    assert len(ids) == 4
    assert {found["id"] for found in second.events if found["data"]["touchpoint"] != "new"} == ids


def test_the_identity_of_an_event_is_its_id(path: Path) -> None:
    made = Made(path, log(trace("a", event("x", AT, '<id key="identity:id" value="u-1"/>'))))
    assert made.events[0]["id"] == "u-1"


def test_lifecycle_filter(path: Path) -> None:
    events = [event("x", AT, transition("START")), event("x", AT, transition("COMPLETE")), event("y", AT)]
    everything = Made(path, log(trace("a", *events)))
    assert len(everything.events) == 3
    assert dict(everything.report.notes) == {xes_reader.SEVERAL.format("complete, start"): 1}
    complete = Made(path, log(trace("a", *events)), lifecycle=["complete"])
    assert [found["data"]["touchpoint"] for found in complete.events] == ["x", "y"]
    assert complete.report.skipped == {xes.OTHER_TRANSITION: 1}
    assert not complete.report.notes
    kept = {found["id"] for found in complete.events}
    assert kept < {found["id"] for found in everything.events}
    assert len(Made(path, log(trace("a", *events)), lifecycle=["Start", "complete"]).events) == 3


def test_what_is_missing_is_told_with_file_line_and_field(path: Path) -> None:
    nameless = f"<trace>\n{event('x', AT)}</trace>\n"
    text = log(trace("a", event(None, AT), event("x", None), event("x", "soon"), event("y", AT)), nameless)
    made = Made(path, text)
    assert [(found.line, found.field, found.reason) for found in made.problems] == [
        (5, "concept:name", "missing"),
        (7, "time:timestamp", "missing"),
        (9, "time:timestamp", "unreadable_time"),
        (15, "case:concept:name", "missing"),
    ]
    assert all(found.file == str(path) for found in made.problems)
    assert [found["data"]["touchpoint"] for found in made.events] == ["y"]


def test_times_without_an_offset_need_a_zone(path: Path) -> None:
    text = log(trace("a", event("x", "2026-07-01T10:00:00.000")))
    assert [found.reason for found in Made(path, text).problems] == ["unreadable_time"]
    assert Made(path, text, zone="Europe/Warsaw").events[0]["time"] == "2026-07-01T08:00:00.000Z"
    with pytest.raises(InputError, match="no such time zone"):
        Made(path, text, zone="Mars/Base")


def test_nested_attributes_have_names_of_their_own(path: Path, tmp_path: Path) -> None:
    nested = '<string key="group" value="G"><string key="concept:name" value="inner"/></string>'
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        '[[event]]\nkind = "contact"\nwhen = { "concept:name" = "call" }\n'
        'data = { channel = "call", topic = { column = "group/concept:name" }, location = { column = "case:city" },'
        ' segment = { template = "{case.tier}-{group}" } }\n'
    )
    case = '<string key="tier" value="gold"/><string key="city" value="Wien"/>'
    text = log(trace("a", case, event("call", AT, nested), event("mail", AT, nested)))
    call, mail = Made(path, text, mapping=mapping, source="bank").events
    assert call["type"] == "cx.touchpoint.contact.v1"
    assert call["data"] == {
        "channel": "call", "touchpoint": "call", "case_id": "a", "topic": "inner", "location": "Wien", "segment": "gold-G",
    }  # fmt: skip
    assert mail["type"] == "cx.touchpoint.page_view.v1"
    assert {call["source"], mail["source"]} == {"bank"}


def test_kind_and_channel_are_options(path: Path) -> None:
    text = log(trace("a", event("x", AT)))
    (found,) = Made(path, text, kind="contact", channel="store").events
    assert (found["type"], found["data"]["channel"]) == ("cx.touchpoint.contact.v1", "store")
    with pytest.raises(InputError, match="--kind: 'nothing' is no kind"):
        Made(path, text, kind="nothing")
    assert [p.field for p in Made(path, text, kind="contact", channel="fax").problems] == ["data.channel"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html><body/></html>", "an HTML page"),
        ("<table/>", r"log.xes:1: begins with <table>, and an XES log with <log>"),
        (
            log(trace("a", event("x", AT)))[:-20],
            r"log.xes:6: is no well-formed XML \(unclosed token, column 105\)",
        ),
        (log("<trace>", "</event>"), r"log.xes:3: is no well-formed XML \(mismatched tag"),
        ('<?xml version="1.0" encoding="EBCDIC-X"?><log/>', r"log.xes:1: .*encoding"),
        ("", "is no well-formed XML"),
        ("<log>" + "<list>" * 100, "more than 64 elements within each other"),
        ("<log><!--" + "x" * (17 << 20), "an element or comment of more than 16 MiB"),
    ],
)
def test_what_is_no_log_is_refused(path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Made(path, text)


@pytest.mark.parametrize(
    "declared",
    [
        '<!ENTITY a "x">',
        '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">',
        '<!ENTITY a SYSTEM "file:///etc/passwd">',
        '<!ENTITY % a SYSTEM "http://127.0.0.1:9/x.dtd">',
    ],
)
def test_entities_are_refused(path: Path, declared: str) -> None:
    head = f'<?xml version="1.0"?>\n<!DOCTYPE log [\n{declared}\n]>\n'
    with pytest.raises(InputError, match=r"log\.xes:3: declares the entity '[ab]'"):
        Made(path, log(trace("a", event("&a;", AT)), head=head))


@pytest.mark.parametrize("doctype", ["", '<!DOCTYPE log SYSTEM "x.dtd">', "<!DOCTYPE log [%p;]>"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("text", ["c&nope;1", "&#38;&nope;"])
def test_undefined_entities_are_refused_with_and_without_a_dtd(
    path: Path, doctype: str, encoding: str, text: str
) -> None:
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n{doctype}\n'
    with pytest.raises(
        InputError, match=r"log\.xes:\d+: is no well-formed XML \(undefined entity, column \d+\)"
    ):
        Made(path, log(trace("a", event("x", AT), event(text, AT)), head=head).encode(encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_log_with_a_dtd_and_without_undefined_entities_is_read(
    path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(xes_reader, "_PIECE_BYTES", 70)
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n<!DOCTYPE log SYSTEM "x.dtd">\n<!-- &a; -->'
    events = [event("\u2661a; > &amp;&#38;n;&lt;'", AT, '<string key="&amp;" value=\'">"\'/>')] * 100
    made = Made(path, log(trace("a", *events), head=head).encode(encoding))
    assert [found["data"]["touchpoint"] for found in made.events] == ["\u2661a; > &&n;<'"] * 100


def test_an_undefined_entity_outside_of_attributes_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match=r"log\.xes:3: .*undefined entity"):
        Made(path, log("\n&nope;", head='<!DOCTYPE log SYSTEM "x.dtd">'))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "cp1250"])
def test_encodings(path: Path, encoding: str) -> None:
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    made = Made(path, log(trace("a", event("Rückgabe", AT)), head=head).encode(encoding))
    assert made.events[0]["data"]["touchpoint"] == "Rückgabe"


def test_memory_holds_one_event(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xes_reader, "_REMEMBERED", 8)
    unwanted = '<string key="big" value="{}"/>'.format("x" * 10_000)
    path.write_text(log(trace("a", *(event(f"x{i}", AT, unwanted) for i in range(50)))))
    from cxstream.convert.stream import Stream

    report = Report()
    reader = xes_reader.XesReader(Stream(path, report, xml=True), report, {"concept:name"})
    rows = list(reader)
    assert len(rows) == 50
    assert all("big" not in row for _, row in rows)
    assert len(reader._seen) <= 8


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = log(
        trace("b", event("later", "2026-03-02T00:00:00Z")), trace("a", event("x", AT), event("x", None))
    )
    Path("log.xes.gz").write_bytes(gzip.compress(text.encode()))
    found = CliRunner().invoke(
        command, ["xes", "log.xes.gz", "--out", "out.ndjson", "--errors", "bad.ndjson"]
    )
    assert found.exit_code == 3, found.output
    assert [json.loads(line)["subject"] for line in Path("out.ndjson").read_text().splitlines()] == ["a", "b"]
    assert json.loads(Path("bad.ndjson").read_text())["field"] == "time:timestamp"
    Path("log.xes.gz").write_bytes(gzip.compress(text.encode())[:-30])
    broken = CliRunner().invoke(command, ["xes", "log.xes.gz", "--out", "other.ndjson"])
    assert broken.exit_code == 1
    assert not Path("other.ndjson").exists()
