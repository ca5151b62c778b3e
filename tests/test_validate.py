"""`cxstream validate`: every problem with its place and what was meant, and never another verdict than the engine's."""

from __future__ import annotations

import gzip
import io
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.cli import group, main
from cxstream.model.events import ENVELOPES, EVENT_TYPE
from cxstream.model.kinds import Kind
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.codec.decode import FROM_THE_FUTURE, decode
from cxstream.scoring.engine import Engine, Records
from cxstream.settings import ACTIONS
from cxstream.validate import names, problems, run
from cxstream.validate.locate import bytes_of, members, patched, text_of, values_at
from cxstream.validate.problems import Problem
from cxstream.wire.examples import example, example_tick
from fuzz import Mutator
from test_schemas import HOSTILE, broken_events, broken_fields, good_events

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cxstream.validate.run import Finding, ProblemCounts

NOW = 1_800_000_000_000


def event(kind: Kind = Kind.contact, **data: Any) -> dict[str, Any]:
    found = json.loads(json.dumps(example(kind)))
    found["data"].update(data)
    return found


def without(found: dict[str, Any], *paths: str) -> dict[str, Any]:
    for path in paths:
        inside = found["data"] if path.startswith("data.") else found
        del inside[path.removeprefix("data.")]
    return found


def raw(found: Any) -> bytes:
    return json.dumps(found).encode()


def problems_of(record: bytes) -> list[Problem]:
    rejected = decode([record]).rejected
    return problems.problems(record, rejected[0] if rejected else None)


def sentences_of(found: Any) -> list[str]:
    return [each.sentence for each in problems_of(found if isinstance(found, bytes) else raw(found))]


# --- one verdict


def engine() -> Engine:
    return Engine(ScoringParams(), ACTIONS)


def check(tmp_path: Path, records: Sequence[bytes], now: int = NOW) -> tuple[ProblemCounts, list[Finding]]:
    path = tmp_path / "records.ndjson"
    path.write_bytes(b"\n".join(records))
    found: list[Finding] = []
    return run.check([path], engine(), lambda: now, found.append), found


def rejected_by_the_engine(records: Sequence[bytes], now: int) -> dict[int, str]:
    """Line and reason of what the engine rejects, save what is late: that depends on the records before."""
    outcome = engine().process(Records(records, range(len(records)), [now] * len(records)))
    return {each.index + 1: each.reason for each in outcome.rejected if each.reason != "too_late"}


spoilt = st.integers(0, 2**32).map(lambda seed: Mutator(seed).record().value)
whole = (good_events() | broken_events()).map(raw)


@given(records=st.lists(spoilt | whole, min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_what_is_not_valid_is_what_the_engine_rejects(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes | None]
) -> None:
    # As lines of a file: what is no line cannot be told apart there.
    lines = [each for each in records if each and each.strip() and not set(each) & set(b"\r\n")]
    lines = [raw(event()), *(each for each in lines if not each.startswith(b"\xef\xbb\xbf"))]
    tally, found = check(tmp_path_factory.mktemp("check"), lines)
    expected = rejected_by_the_engine(lines, NOW)
    errors: dict[int, str] = {}
    for _, line, problem in found:
        if problem.level == "error":
            errors.setdefault(line, problem.reason)
    assert errors == expected
    assert (tally.records, tally.bad) == (len(lines), len(expected))


@given(broken_events())
@settings(max_examples=150, deadline=None)
def test_all_that_the_schema_objects_to_is_found(found: dict[str, Any]) -> None:
    record = raw(found)
    broken = broken_fields(found)
    rejected = decode([record]).rejected
    told = [each.field for each in problems.errors(record, rejected[0])] if rejected else []
    assert len(told) == len(set(told))
    if broken == {"type"}:
        # Without a kind there is no schema; the rest is held against the kind that is meant, or any.
        assert told[:1] == ["type"]
    else:
        assert set(told) == broken


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_records_are_explained(name: str) -> None:
    record, reason, field = HOSTILE[name]
    rejected = decode([record], limit=1 << 20).rejected
    found = problems.problems(record, rejected[0] if rejected else None)
    errors = [each for each in found if each.level == "error"]
    assert [(each.reason, each.field) for each in errors] == ([(reason, field)] if reason else [])
    assert all(len(each.sentence) < 400 for each in errors)


# --- the text of a record


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)), st.booleans())  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_members_are_those_that_a_parser_finds(value: Any, spaced: bool) -> None:
    text = json.dumps({"a": value, "b": [value, value]}, indent=2 if spaced else None)
    found = {name: json.loads(text[start:end]) for name, (start, end) in members(text, 0)}
    assert found == {"a": value, "b": [value, value]}
    [(start, end)] = values_at(text, "b[1]")
    assert json.loads(text[start:end]) == value


def test_a_value_is_replaced_wherever_its_name_stands_and_where_it_is_missing() -> None:
    text = '{"data": {"a": 1, "a": [2, {"a": 3}]}, "data": {}, "x": "data"}'
    assert patched(text, "data.a", "9") == '{"data": {"a": 9, "a": 9}, "data": {"a":9}, "x": "data"}'
    assert patched("{}", "id", '"i"') == '{"id":"i"}'


@given(st.binary(max_size=30))
def test_bytes_survive_being_text(data: bytes) -> None:
    assert bytes_of(text_of(data)) == data


# --- sentences and guesses


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (event(channel="phone"), ['data.channel: must be one of call, chat, email, store, social for kind contact, not "phone"; did you mean "call"?']),
        (event(Kind.error, channel="Web"), ['data.channel: must be one of web, app, call, chat, email, store, social, crm, not "Web"; did you mean "web"?']),
        (event(wait_s="420"), ['data.wait_s: must be a number of at least 0, not "420"; did you mean 420?']),
        (event(resolved="yes"), ['data.resolved: must be true or false, not "yes"; did you mean true?']),
        (event(Kind.survey_nps, score=11), ["data.score: must be a whole number from 0 to 10 for kind survey_nps, not the number 11"]),
        (event(Kind.purchase, currency="eur"), ['data.currency: must be three capital letters (ISO 4217), like EUR for kind purchase, not "eur"; did you mean "EUR"?']),
        (event() | {"type": "cx.touchpoint.contcat.v1"}, ['type: must be an event type of this contract, like cx.touchpoint.contact.v1, not "cx.touchpoint.contcat.v1"; did you mean "cx.touchpoint.contact.v1"?']),
        (event() | {"subject": ""}, ["subject: must be a string of 1 to 128 characters, but is empty"]),
        (event() | {"subject": 4711}, ['subject: must be a string of 1 to 128 characters, not the number 4711; did you mean "4711"?']),
        (event() | {"id": "x" * 300}, ["id: must be a string of 1 to 256 characters, but has 300"]),
        (event() | {"data": []}, ["data: must be an object, not an array"]),
        (without(event(), "data"), ["data: is missing; it must be an object"]),
        (without(event(Kind.complaint_opened, caseId="c"), "data.case_id"), ['data.case_id: is missing; it must be a string of 1 to 256 characters for kind complaint_opened; did you mean it by "caseId"?']),
        (without(event(), "subject") | {"customer_id": "anna"}, ['subject: is missing; it must be a string of 1 to 128 characters; did you mean it by "customer_id"?']),
        (event(waitSeconds=5), ["data.waitSeconds: an unknown field: it is ignored"]),
        (without(event(waitSeconds=5), "data.wait_s"), ["data.waitSeconds: an unknown field: it is ignored; did you mean wait_s (in seconds)?"]),
        (event(flavour=1), ["data.flavour: an unknown field: it is ignored"]),
        (event(subject="a"), ["data.subject: an attribute of the event, which does not belong into data: it is ignored"]),
        (event() | {"channel": "call"}, ["channel: a field of data that stands outside of it: it is ignored; did you mean data.channel?"]),
        (event() | {"subject": " anna"}, ["subject: has blanks at its ends: that is another customer than one without"]),
        (event() | {"partitionkey": "berta"}, ["partitionkey: differs from the subject: the Kafka key must be the subject"]),
        (event() | {"traceparent": "x", "datacontenttype": "application/json"}, []),
        (example_tick(), []),
        (b"[]", ["not a JSON object"]),
        (b'{"a": NaN}', ["not JSON: invalid character (byte 6); an event is a JSON object, and NaN and infinity are no JSON"]),
        (b"{'a': 1}", ["not JSON: object keys must be strings (byte 1); names and strings stand in double quotes"]),
        (b'{"a": 1', ["not JSON: it ends early"]),
    ],
)  # fmt: skip
def test_sentences(found: Any, said: list[str]) -> None:
    assert sentences_of(found) == said


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("2025-03-01T12:30:00", "it has no offset; end it with Z where it is UTC"),
        ("2025-03-01 12:30:00+01:00", 'did you mean "2025-03-01T12:30:00.000+01:00"?'),
        ("2016-12-31T23:59:60Z", "there are no leap seconds"),
        (1_740_830_400_000, 'did you mean "2025-03-01T12:00:00.000Z"?'),
    ],
)
def test_what_to_do_about_a_time(given: Any, advice: str) -> None:
    [said] = sentences_of(event() | {"time": given})
    assert advice in said


def test_every_problem_of_a_record_is_told_at_its_place() -> None:
    bad = event(channel="phone", wait_s=-1, score="x", hashtags=["a", 5, "b" * 200], sentiment=2)
    record = raw(bad | {"specversion": 1, "time": "today"})
    found = problems_of(record)
    assert {each.field for each in found} == {
        "specversion", "time", "data.channel", "data.wait_s", "data.score", "data.hashtags[1]", "data.hashtags[2]",
        "data.sentiment",
    }  # fmt: skip
    for each in found:
        assert each.where is not None
        assert each.where.text[each.where.start : each.where.end] == each.value


def test_of_a_name_that_comes_twice_the_bad_value_is_told() -> None:
    record = raw(event()).replace(b'"channel": "call"', b'"channel": "fax", "channel": "call"')
    [found] = problems_of(record)
    assert found.value == '"fax"'
    assert found.where is not None
    assert found.where.text[found.where.start : found.where.end] == '"fax"'


@pytest.mark.parametrize("kind", Kind)
def test_there_is_a_good_value_for_every_field_of_every_kind(kind: Kind) -> None:
    """What the search for all problems rests on."""
    nothing = {"type": kind.type, "data": {}}
    found = problems.errors(raw(nothing), decode([raw(nothing)]).rejected[0])
    required = {"specversion", "id", "source", "subject", "time"}
    assert {each.field for each in found} >= required | {"data.channel"}
    wrong = {
        "type": kind.type,
        "data": dict.fromkeys(names.fields_of(kind.type), True) | {"resolved": 5, "abandoned": 5},
    }
    wrong |= dict.fromkeys(required, 5)
    found = problems.errors(raw(wrong), decode([raw(wrong)]).rejected[0])
    assert {each.field for each in found} == required | {
        f"data.{name}" for name in names.fields_of(kind.type)
    }


def test_names_are_those_of_the_contract() -> None:
    fields = {each for kind in ENVELOPES.values() for each in kind.__struct_fields__}
    assert fields | {"type"} == set(names.ATTRIBUTES)
    assert len(EVENT_TYPE.__args__) == len(Kind) + 3


@pytest.mark.parametrize(
    ("given", "meant", "sure"),
    [
        ("pageview", "page_view", True),
        ("cx.touchpoint.PageView", "page_view", True),
        ("com.acme.purchase", "purchase", True),
        ("cx.touchpoint.contact.v2", "contact", False),
        ("cx.touchpoint.zzz.v1", None, False),
    ],
)
def test_types_that_are_nearly_known(given: str, meant: str | None, sure: bool) -> None:
    guess = names.event_type(given)
    assert guess == (None if meant is None else (f"cx.touchpoint.{meant}.v1", sure))


def test_a_guess_is_not_sure_where_the_unit_may_be_another() -> None:
    assert names.field("wait_ms") == ("wait_s", False)
    assert names.field("amount_cents") == ("amount", False)
    assert names.field("wait_time") == ("wait_s", True)
    # A contact through the web came by some other channel, and nobody knows by which.
    assert names.value("data.channel", "web", ("call", "chat")) is None


@given(st.text(max_size=200))
def test_any_name_is_guessed_at_without_harm(name: str) -> None:
    for guess in (names.field(name), names.attribute(name), names.event_type(name)):
        assert guess is None or guess.name


# --- the command


def command(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(group, ["validate", *arguments], input=stdin)


def in_lines(*found: Any) -> bytes:
    return b"".join(raw(each) + b"\n" if not isinstance(each, bytes) else each + b"\n" for each in found)


def numbered(count: int, **data: Any) -> list[dict[str, Any]]:
    return [event(**data) | {"id": str(n)} for n in range(count)]


def test_valid_records(tmp_path: Path) -> None:
    path = tmp_path / "good.ndjson"
    path.write_bytes(in_lines(*numbered(3)))
    done = command(str(path))
    assert (done.exit_code, done.output) == (0, "3 records: 3 valid, 0 not valid, 0 warnings\n")
    done = command("-", stdin=gzip.compress(path.read_bytes()))
    assert (done.exit_code, done.output) == (0, "3 records: 3 valid, 0 not valid, 0 warnings\n")


def test_problems_have_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "some.ndjson"
    good, bad, odd = numbered(3)
    bad["data"]["channel"] = "phone"
    odd["data"]["extra"] = 1
    path.write_bytes(in_lines(good, b"", bad, odd, b"nope"))
    done = command(str(path))
    assert done.exit_code == 1
    said = done.stdout.splitlines()
    assert said[0].startswith(f"{path}:3: data.channel: must be one of")
    assert said[1] == f"{path}:4: warning: data.extra: an unknown field: it is ignored"
    assert said[2].startswith(f"{path}:5: not JSON: ")
    assert said[3:] == ["4 records: 2 valid, 2 not valid (2 errors), 1 warning"]


def test_warnings_count_where_that_is_asked_for() -> None:
    record = in_lines(event(extra=1))
    assert command("-", stdin=record).exit_code == 0
    assert command("-", "--strict", stdin=record).exit_code == 1


def test_output_is_bounded_and_everything_is_counted() -> None:
    lines = in_lines(*numbered(200, channel="phone", extra=1))
    done = command("-", stdin=lines)
    assert done.exit_code == 1
    assert done.stdout.count("data.channel: must be") == 20
    assert done.stdout.count("an unknown field") == 20
    assert "... and 360 more" in done.stdout
    assert "200 records: 0 valid, 200 not valid (200 errors), 200 warnings" in done.stdout
    assert "no record is valid; 'cxstream convert'" in done.stderr
    assert command("-", "--limit", "3", stdin=lines).stdout.count("data.channel: must be") == 3
    assert "data.channel: must" not in command("-", "--limit", "0", stdin=lines).stdout


def test_fields_without_end_are_counted_together() -> None:
    tally = run.ProblemCounts()
    for number in range(5000):
        tally.add(Problem("", f"data.x{number}", "unknown"))
    assert len(tally.warnings) <= 1001
    assert tally.warnings.total() == 5000


def test_json_lines_have_all_problems() -> None:
    done = command("-", "--json", stdin=in_lines(*numbered(50, channel="phone")))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 50
    assert found[6] == {
        "file": "-",
        "line": 7,
        "level": "error",
        "reason": "invalid",
        "field": "data.channel",
        "message": 'must be one of call, chat, email, store, social for kind contact, not "phone"',
        "meant": '"call"',
        "value": '"phone"',
    }
    assert "50 records" in done.stderr


def test_an_event_that_comes_again_is_a_warning() -> None:
    first, second = numbered(2)
    other = first | {"subject": "somebody else"}
    done = command("-", stdin=in_lines(first, second, other, first))
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "-:4: warning: id: the same source and id as line 1: an event that comes again counts once",
        "4 records: 4 valid, 0 not valid, 1 warning",
    ]


def test_times_of_the_future_are_errors(tmp_path: Path) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 120))
    done = command(
        "-", stdin=in_lines(event() | {"time": soon}, event() | {"id": "2", "time": "2199-01-01T00:00:00Z"})
    )
    assert done.exit_code == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("-:")] == [
        next(line for line in done.stdout.splitlines() if line.startswith("-:2: time: is later than now"))
    ]
    tick = example_tick() | {"time": soon}
    assert "a control record is never from the future" in command("-", stdin=in_lines(tick)).stdout
    _, found = check(tmp_path, [raw(event())], now=0)
    assert [each.problem.reason for each in found] == [FROM_THE_FUTURE]


def test_a_forged_control_record_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    tick = in_lines(example_tick())
    assert command("-", stdin=tick).exit_code == 0
    monkeypatch.setenv("CXSTREAM_CONTROL__KEY", "k" * 32)
    done = command("-", stdin=tick)
    assert done.exit_code == 1
    assert "signature: no signature" in done.stdout


def test_a_record_that_is_too_long() -> None:
    done = command("-", stdin=in_lines(event(text="x" * (1 << 21))))
    assert done.exit_code == 1
    assert "-:1: larger than scoring.max_record_bytes" in done.stdout


@pytest.mark.parametrize("name", ["array.json", "rows.parquet"])
def test_other_files_than_lines(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    events = numbered(3)
    events[1]["data"]["channel"] = "phone"
    if name == "array.json":
        path.write_text(json.dumps(events, indent=2))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        rows = [each | {"data": json.dumps(each["data"])} for each in events]
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    done = command(str(path))
    assert done.exit_code == 1
    assert f"{path}:2: data.channel: must be" in done.stdout
    assert "3 records: 2 valid, 1 not valid (1 error), 0 warnings" in done.stdout


def test_nothing_to_check_is_said() -> None:
    done = command("-", stdin=b"")
    assert done.exit_code == 0
    assert "there was no record to check" in done.stderr


def test_what_others_wrote_moves_no_cursor() -> None:
    done = command("-", stdin=in_lines(event(channel="\x1b[2J\u202e", **{"\x1b]0;x\x07": 1, "y" * 5000: 2})))
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert all(len(line) < 500 for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("arguments", "status"), [(["nowhere.ndjson"], 1), ([], 2), (["-", "--limit", "x"], 2), (["--nope"], 2)]
)
def test_what_cannot_be_done_is_no_success(
    arguments: list[str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(SystemExit) as ended:
        main(["validate", *arguments])
    assert ended.value.code == status


def test_fields_of_a_purchase_history_are_known_there_and_nowhere_else() -> None:
    data = {"channel": "crm", "purchases": 2, "first": "2020-01-01", "last": "2024-01-01", "amount": 5}
    told = {
        "specversion": "1.0",
        "id": "1",
        "source": "/crm",
        "subject": "ann",
        "time": "2025-01-01T00:00:00Z",
        "type": "cx.touchpoint.purchase_history.v1",
        "data": {**data, "currency": "EUR"},
    }
    assert problems.problems(raw(told), None) == []
    found = problems.problems(raw({**told, "type": "cx.touchpoint.page_view.v1"}), None)
    assert [each.field for each in found] == ["data.purchases", "data.first", "data.last"]
    later = {**told, "data": {**told["data"], "last": "2026-01-01"}}
    [wrong] = problems.errors(raw(later), decode([raw(later)]).rejected[0])
    assert (wrong.field, wrong.value) == ("data.last", '"2026-01-01"')
