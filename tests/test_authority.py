"""Signatures of control records: what is signed, by which key, and what does not count."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import stat
import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from aiokafka.structs import RecordMetadata
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cxstream.cli import keys
from cxstream.doctor import computer
from cxstream.doctor.finding import Finding, Patient
from cxstream.model.errors import BrokerError, SettingsError
from cxstream.model.parameters import MINUTE_MS, ScoringParams
from cxstream.scoring.codec.signatures import (
    MAX_ATTRIBUTES,
    MAX_BYTES,
    MIN_KEY_BYTES,
    Authority,
    canonical,
    derived,
)
from cxstream.scoring.engine import Engine, Outcome, Records
from cxstream.scoring.router import Router
from cxstream.settings import Control, Settings
from cxstream.topology import Topology
from cxstream.worker.ownership import requests
from cxstream.worker.ownership.outbox import Limits, Outbox, commit
from cxstream.worker.ownership.suspects import Cause
from cxstream.worker.ticker import tick
from oracle import to_ms
from workers import touchpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cxstream.scoring.codec.decode import Headers

KEY, OTHER = b"k" * MIN_KEY_BYTES, b"o" * MIN_KEY_BYTES
TICK = {
    "specversion": "1.0",
    "id": "1",
    "source": "/ticker",
    "type": "cx.tick.v1",
    "time": "2025-03-01T00:00:00Z",
}

# RFC 8785, appendix B: the bits of a float64, and its canonical form.
NUMBERS = {
    0x0000000000000000: "0",
    0x8000000000000000: "0",
    0x0000000000000001: "5e-324",
    0x8000000000000001: "-5e-324",
    0x7FEFFFFFFFFFFFFF: "1.7976931348623157e+308",
    0xFFEFFFFFFFFFFFFF: "-1.7976931348623157e+308",
    0x4340000000000000: "9007199254740992",
    0xC340000000000000: "-9007199254740992",
    0x4430000000000000: "295147905179352830000",
    0x44B52D02C7E14AF5: "9.999999999999997e+22",
    0x44B52D02C7E14AF6: "1e+23",
    0x44B52D02C7E14AF7: "1.0000000000000001e+23",
    0x444B1AE4D6E2EF4E: "999999999999999700000",
    0x444B1AE4D6E2EF4F: "999999999999999900000",
    0x444B1AE4D6E2EF50: "1e+21",
    0x3EB0C6F7A0B5ED8C: "9.999999999999997e-7",
    0x3EB0C6F7A0B5ED8D: "0.000001",
    0x41B3DE4355555553: "333333333.3333332",
    0x41B3DE4355555554: "333333333.33333325",
    0x41B3DE4355555555: "333333333.3333333",
    0x41B3DE4355555556: "333333333.3333334",
    0x41B3DE4355555557: "333333333.33333343",
    0xBECBF647612F3696: "-0.0000033333333333333333",
    0x43143FF3C1CB0959: "1424953923781206.2",
}


def signed(event: dict[str, Any], key: bytes = KEY) -> bytes:
    return msgspec.json.encode(Authority([key]).sign(event))


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_numbers_are_written_as_the_rfc_says(bits: int, text: str) -> None:
    [number] = struct.unpack(">d", bits.to_bytes(8, "big"))
    assert canonical({"data": number}) == f'{{"data":{text}}}'.encode()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 2**53])
def test_a_number_that_json_does_not_hold_is_not_signed(number: float) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonical({"data": number})


def test_values_are_written_as_the_rfc_says() -> None:
    """RFC 8785, 3.2.2 and 3.2.3: literals, escapes, and the order of names by UTF-16."""
    given = (
        '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],'
        '"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}'
    )
    assert canonical({"data": json.loads(given)}).decode() == (
        '{"data":{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}}'
    )
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = json.loads(canonical({"data": dict.fromkeys(names, 0)}))["data"]
    assert list(ordered) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_a_signature_is_plain_hmac_over_canonical_json() -> None:
    text = (
        '{"id":"1","source":"/ticker","specversion":"1.0","time":"2025-03-01T00:00:00Z","type":"cx.tick.v1"}'
    )
    assert canonical(TICK) == text.encode()
    assert json.loads(signed(TICK))["signature"] == hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


texts = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True).filter(lambda name: name not in {"data", "type"})
attributes = st.dictionaries(
    names, texts | st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.none(), max_size=6
)


@given(attributes, st.randoms(use_true_random=False))
def test_what_is_signed_counts_however_it_is_written(more: dict[str, Any], random: Any) -> None:
    event = TICK | more
    items = list(json.loads(signed(event)).items())
    random.shuffle(items)
    for ascii_only in (True, False):
        rewritten = json.dumps(dict(items), ensure_ascii=ascii_only, indent=2).encode()
        assert Authority([KEY]).doubt(rewritten) == ""


@given(attributes, st.data())
def test_no_attribute_can_be_changed(more: dict[str, Any], data: st.DataObject) -> None:
    event = json.loads(signed(TICK | more))
    name = data.draw(st.sampled_from([*sorted(event), "extra"]))
    event[name] = "changed" if name != "signature" else "0" * 64
    assert Authority([KEY]).doubt(json.dumps(event).encode()) != ""


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (TICK, "no signature"),
        (TICK | {"signature": None}, "no signature"),
        (TICK | {"signature": 7}, "not 64"),
        (TICK | {"signature": "0" * 63}, "not 64"),
        (TICK | {"signature": "A" * 64}, "not 64"),
        (TICK | {"signature": "0" * 64 + "\n"}, "not 64"),
        (TICK | {"signature": "0" * 64}, "is not of control.key"),
        (TICK | {"signature": "0" * 64, "more": []}, "cannot have been signed"),
        (TICK | {"signature": "0" * 64, "more": 0.5}, "cannot have been signed"),
        (TICK | {"signature": "0" * 64, "data": {}}, "has data"),
        (TICK | {"signature": "0" * 64, "type": "cx.rules.v1", "data": 2**60}, "cannot have been signed"),
        (TICK | {"signature": "0" * 64, "more": "x" * MAX_BYTES}, "at most"),
        (TICK | {"signature": "0" * 64} | {f"a{i}": "" for i in range(MAX_ATTRIBUTES)}, "at most"),
    ],
)
def test_what_was_not_signed_is_told_why(event: dict[str, Any], why: str) -> None:
    assert why in Authority([KEY]).doubt(json.dumps(event).encode())


def test_data_that_is_nested_deeply_is_no_crash() -> None:
    deep = b'{"type":"cx.rules.v1","signature":"%s","data":%s}' % (b"0" * 64, b"[" * 500 + b"]" * 500)
    assert Authority([KEY]).doubt(deep) != ""


def test_a_key_that_was_replaced_still_counts_and_signs_no_more() -> None:
    both = Authority([KEY, OTHER])
    assert both.doubt(signed(TICK, OTHER)) == both.doubt(signed(TICK, KEY)) == ""
    assert both.sign(TICK) == Authority([KEY]).sign(TICK)
    assert Authority([KEY]).doubt(signed(TICK, OTHER)) != ""


def test_a_key_for_another_purpose_tells_nothing_of_a_signature() -> None:
    assert len({derived(KEY, "a"), derived(KEY, "b"), derived(OTHER, "a"), KEY}) == 4


# --- the settings


def test_without_a_key_nothing_is_signed() -> None:
    assert Settings().control.keys() == ()
    assert Settings().control.authority() is None


def test_keys_come_from_files(tmp_path: Path) -> None:
    current, previous = tmp_path / "key", tmp_path / "previous"
    current.write_bytes(KEY + b"\n")
    previous.write_bytes(OTHER + b"\r\n" + b"p" * 40 + b"\n\n")
    control = Control(key_file=current, previous_key_file=previous)
    assert control.keys() == (KEY, OTHER, b"p" * 40)
    assert Control(key=KEY.decode(), previous_key=OTHER.decode()).keys() == (KEY, OTHER)


@pytest.mark.parametrize(
    ("given", "text", "why"),
    [
        ({"key_file": True}, "short\n", "control.key: a key of 5 bytes"),
        ({"key_file": True}, "k" * 40 + "\n" + "o" * 40, "control.key: has several lines"),
        ({"key_file": True}, "", "control.key_file: .* is empty"),
        ({"key_file": True, "key": "k" * 40}, "k" * 40, "both are given"),
        ({"previous_key_file": True}, "k" * 40, "without a control.key"),
        (
            {"key": "k" * 40, "previous_key_file": True},
            "o" * 40 + "\nshort",
            "control.previous_key: a key of 5",
        ),
    ],
)
def test_keys_that_are_of_no_use_are_refused(
    tmp_path: Path, given: dict[str, Any], text: str, why: str
) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    control = Control(**{name: file if value is True else value for name, value in given.items()})
    with pytest.raises(SettingsError, match=why) as caught:
        control.keys()
    assert "k" * 40 not in str(caught.value)
    assert "short" not in str(caught.value)


def test_keys_are_not_shown() -> None:
    control = Control(key=KEY.decode(), previous_key=OTHER.decode())
    assert KEY.decode() not in repr(control)
    assert OTHER.decode() not in repr(control)
    with pytest.raises(ValueError, match="at least 32") as caught:
        Control(key="secret-but-short")
    assert "secret-but-short" not in str(caught.value)


# --- in the log

GRACE = 5 * MINUTE_MS
NOW = to_ms("2025-03-01T12:00:00Z")
FORGET = {
    "specversion": "1.0",
    "id": "request",
    "source": "/shop",
    "type": "cx.forget.v1",
    "subject": "anna",
    "time": "2025-03-01T12:00:00Z",
}
LATER_TICK = TICK | {"time": "2025-03-01T12:00:00Z"}


def touch(number: int) -> bytes:
    return touchpoint("anna", number)


def score(
    engine: Engine, *values: bytes, appended: int = NOW, headers: Sequence[Headers] | None = None
) -> Outcome:
    start = engine.next_offset
    limits = [appended + GRACE] * len(values)
    offsets = range(start, start + len(values))
    return engine.process(Records(values, offsets, limits, headers=headers, grace=GRACE))


def engine_with(*keys: bytes, **more: Any) -> Engine:
    return Engine(ScoringParams(), {}, authority=Authority(keys, **more))


def binary(event: dict[str, Any], content_type: str | None = "application/json") -> Headers:
    headers = [(f"ce_{name}", str(value).encode()) for name, value in event.items()]
    return headers + ([("content-type", content_type.encode())] if content_type else [])


@pytest.mark.parametrize("event", [FORGET, LATER_TICK], ids=["forget", "tick"])
@pytest.mark.parametrize(
    "forge",
    [
        lambda event: event,
        lambda event: event | {"signature": "0" * 64},
        lambda event: event | {"signature": "of the attacker"},
        lambda event: event | {"signature": ["0" * 64]},
        lambda event: Authority([OTHER]).sign(event),
        lambda event: Authority([KEY]).sign(event | {"id": "another"}) | {"id": event["id"]},
        lambda event: Authority([KEY]).sign(event | {"subject": "bert"}) | {"subject": "anna", "more": 1},
    ],
)
def test_what_is_not_signed_erases_nobody_and_moves_no_clock(
    event: dict[str, Any], forge: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    engine = engine_with(KEY)
    score(engine, touch(0))
    before = engine.clock, list(engine.cards())
    outcome = score(engine, json.dumps(forge(event)).encode())
    assert [(each.reason, each.field) for each in outcome.rejected] == [("forged", "signature")]
    assert (engine.clock, list(engine.cards())) == before
    assert not outcome.receipts
    assert score(engine, touch(1)).accepted == 1


@pytest.mark.parametrize("key", [KEY, OTHER], ids=["current", "previous"])
def test_what_is_signed_is_followed(key: bytes) -> None:
    engine = engine_with(KEY, OTHER)
    outcome = score(engine, touch(0), signed(LATER_TICK, key), signed(FORGET, key))
    assert (outcome.ticks, outcome.erasures, outcome.rejected) == (1, 1, [])
    assert engine.clock == NOW
    assert engine.customers == 0


def test_without_a_key_control_records_count_signed_or_not() -> None:
    engine = Engine(ScoringParams(), {})
    outcome = score(engine, json.dumps(LATER_TICK).encode(), signed(LATER_TICK | {"id": "2"}, OTHER))
    assert outcome.ticks == 2
    wrong = score(engine, json.dumps(LATER_TICK | {"signature": "x"}).encode())
    assert [(each.reason, each.field) for each in wrong.rejected] == [("invalid", "signature")]


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", None])
def test_a_signature_is_the_same_in_both_content_modes(content_type: str | None) -> None:
    """`content-type` is an attribute of the event: a structured one that has it as `datacontenttype` is the same."""
    event = FORGET | {"priority": 7, "urgent": True}
    if content_type:
        event["datacontenttype"] = content_type
    whole = Authority([KEY]).sign(event)
    texts = whole | {"priority": "7", "urgent": "true"}
    texts.pop("datacontenttype", None)
    engine = engine_with(KEY)
    assert score(engine, json.dumps(whole).encode()).erasures == 1
    split = engine_with(KEY)
    assert score(split, b"", headers=[binary(texts, content_type)]).rejected != [], "data is no JSON"
    record = Records([None], [1], [NOW + GRACE], headers=[binary(texts, content_type)], grace=GRACE)
    assert split.process(record).erasures == 1
    forged = Records([None], [2], [NOW], headers=[binary(texts | {"id": "x"}, content_type)])
    assert [each.reason for each in split.process(forged).rejected] == ["forged"]


def test_a_control_record_that_breaks_its_schema_is_invalid_first() -> None:
    engine = engine_with(KEY)
    records = [
        json.dumps({name: value for name, value in FORGET.items() if name != "subject"}),
        json.dumps(FORGET | {"time": "soon"}),
    ]
    outcome = score(engine, *(record.encode() for record in records))
    assert [(each.reason, each.field) for each in outcome.rejected] == [
        ("invalid", "subject"),
        ("invalid", "time"),
    ]


def test_touchpoints_need_no_signature_and_may_have_an_attribute_of_that_name() -> None:
    event = json.loads(touch(0)) | {"signature": ["of", "another", "system"]}
    assert score(engine_with(KEY), touch(1), json.dumps(event).encode()).accepted == 2


def test_what_came_before_the_key_needs_no_signature() -> None:
    unsigned = json.dumps(FORGET).encode()
    assert score(engine_with(KEY, unsigned_until=NOW + 1), unsigned).erasures == 1
    assert score(engine_with(KEY, unsigned_until=NOW), unsigned).erasures == 0
    # A file does not say when its records came into a log.
    router = Router(ScoringParams(), {}, authority=Authority([KEY], unsigned_until=NOW + 1))
    assert [each.reason for each in router.process([unsigned], NOW).rejected] == ["forged"]


@pytest.mark.parametrize("partitions", [1, 3])
def test_files_are_held_to_the_same_key(partitions: int) -> None:
    values = [touch(0), json.dumps(FORGET).encode(), touch(1), signed(FORGET), signed(TICK, OTHER), touch(2)]
    with_key = Router(ScoringParams(), {}, partitions=partitions, authority=Authority([KEY]))
    outcome = with_key.process(values, NOW + GRACE, grace=GRACE)
    assert [(each.index, each.reason) for each in outcome.rejected] == [(1, "forged"), (4, "forged")]
    assert (outcome.accepted, outcome.erasures, outcome.erased) == (2, 1, 1)
    without = Router(ScoringParams(), {}, partitions=partitions).process(values, NOW + GRACE, grace=GRACE)
    assert (without.rejected, without.erasures) == ([], 1)


@given(
    st.lists(st.sampled_from(("touch", "signed", "forged", "tick", "forged tick")), max_size=12), st.data()
)
def test_forged_records_change_nothing_wherever_the_log_is_cut(kinds: list[str], data: st.DataObject) -> None:
    """An engine that meets them ends as one that never sees them."""
    made = {
        "touch": touch,
        "signed": lambda n: signed(FORGET | {"id": f"r{n}", "time": f"2025-03-01T00:00:{n:02}Z"}),
        "forged": lambda n: signed(FORGET | {"id": f"r{n}", "time": f"2025-03-01T00:00:{n:02}Z"}, OTHER),
        "tick": lambda n: signed(TICK | {"id": f"t{n}", "time": f"2025-03-01T00:00:{n:02}Z"}),
        "forged tick": lambda n: json.dumps(LATER_TICK).encode(),
    }
    log = [(n, made[kind](n), kind.startswith("forged")) for n, kind in enumerate(kinds)]
    cut = data.draw(st.integers(0, len(log)))
    one, other = engine_with(KEY), engine_with(KEY)
    for piece in (log[:cut], log[cut:]):
        outcome = one.process(
            Records([value for _, value, _ in piece], [n for n, _, _ in piece], [NOW + GRACE] * len(piece))
        )
        assert [each.reason for each in outcome.rejected] == ["forged"] * sum(bad for *_, bad in piece)
    kept = [(n, value) for n, value, bad in log if not bad]
    other.process(Records([v for _, v in kept], [n for n, _ in kept], [NOW + GRACE] * len(kept)))
    assert one.clock == other.clock
    assert list(one.cards()) == list(other.cards())


def test_a_forged_record_costs_no_more_than_any_other() -> None:
    """Megabytes of what would have to be made canonical are refused before that."""
    doubt = Authority([KEY]).doubt
    large = json.dumps(LATER_TICK | {"signature": "0" * 64, "more": "x" * MAX_BYTES}).encode()
    assert "at most" in doubt(large)
    many = LATER_TICK | {"signature": "0" * 64} | {f"a{n}": "" for n in range(4000)}
    assert "attributes" in doubt(json.dumps(many).encode())
    assert "has data" in doubt(json.dumps(LATER_TICK | {"signature": "0" * 64, "data": [0] * 9000}).encode())


# --- what workers write


class Asks(NamedTuple):
    """A record of cx.forget."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    offset: int = 7


AHEAD = json.dumps(FORGET | {"time": "2025-03-01T12:00:04Z", "more": "not taken over"}).encode()


@pytest.mark.parametrize(
    ("record", "now", "time", "identity"),
    [
        (Asks(b"anna", json.dumps(FORGET).encode(), NOW + 9), NOW + 99, NOW, "request"),
        (Asks(b"anna", AHEAD, NOW), NOW + 99, NOW, "request"),
        (Asks(b"anna", AHEAD, NOW + 9000), NOW + 100, NOW + 100, "request"),
        (Asks(b"anna", None, NOW), NOW + 99, NOW, "cx.forget-0-7"),
        (Asks(b"anna", None, NOW + 9000), NOW + 99, NOW + 99, "cx.forget-0-7"),
        (Asks(b"anna", signed(FORGET, OTHER), NOW), NOW, NOW, "request"),
    ],
)
@pytest.mark.parametrize("authority", [None, Authority([KEY, OTHER])])
def test_a_request_is_taken_over_signed_and_never_later_than_now(
    record: Asks, now: int, time: int, identity: str, authority: Authority | None
) -> None:
    request = requests.read(record, 0, GRACE, now, authority)
    assert isinstance(request, requests.Request)
    event = json.loads(request.value)
    assert (request.time, to_ms(event["time"]), event["subject"], event["id"]) == (
        time,
        time,
        "anna",
        identity,
    )
    if authority is not None:
        assert Authority([KEY]).doubt(request.value) == ""
    elif record.value and time == to_ms(json.loads(record.value)["time"]):
        assert request.value == record.value, "byte for byte"


def test_a_request_that_is_far_ahead_is_refused() -> None:
    record = Asks(b"anna", json.dumps(FORGET).encode(), NOW - GRACE - 1)
    assert requests.read(record, 0, GRACE, NOW, None) == requests.Refused("from_the_future", "time")


def test_a_tick_is_signed() -> None:
    now = datetime(2025, 3, 1, tzinfo=UTC)
    assert Authority([KEY]).doubt(tick(now, Authority([KEY]))) == ""
    assert "signature" not in json.loads(tick(now))


class Acks:
    """A producer whose broker has a clock of its own."""

    def __init__(self, clock: int, kind: int = 1) -> None:
        self._sent = RecordMetadata("t", 0, None, 0, clock, kind, 0)

    def create_batch(self) -> Any:
        class Batch:
            def append(self, **_: Any) -> object:
                return self

        return Batch()

    async def send_batch(self, *_: Any, **__: Any) -> asyncio.Future[RecordMetadata]:
        sent: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        sent.set_result(self._sent)
        return sent

    async def begin_transaction(self) -> None:
        pass

    async def send_offsets_to_transaction(self, *_: Any) -> None:
        pass

    async def commit_transaction(self) -> None:
        pass


async def test_a_request_that_a_broker_would_take_for_the_future_is_not_committed() -> None:
    """It would be rejected where it stands, and its customer would not be erased."""

    async def committed(clock: int, kind: int = 1) -> bool:
        outbox = Outbox(Topology(""))
        outbox.add_request(b"anna", b"{}", Cause("cx.forget", 0), NOW)
        outbox.add_request(b"bert", b"{}", Cause("cx.forget", 1), NOW - 1)
        outbox.taken["cx.forget"] = 2
        producer: Any = Acks(clock, kind)
        await commit(
            producer, outbox, group="g", partition=0, partitions=1, offset=1,
            topology=Topology(""), limits=Limits(10_000, 10_000),
        )  # fmt: skip
        return outbox.committed.is_set()

    assert await committed(NOW)
    assert await committed(NOW - 1, kind=0), "who sent it said when, not the broker"
    with pytest.raises(BrokerError, match="1 ms behind an erasure request"):
        await committed(NOW - 1)


# --- cxstream keys


def test_keys_init_makes_a_key_that_nobody_else_can_read(tmp_path: Path) -> None:
    file = tmp_path / "key"
    before = os.umask(0)
    try:
        done = CliRunner().invoke(keys.command, ["init", str(file)])
    finally:
        os.umask(before)
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    [key] = Control(key_file=file).keys()
    assert len(bytes.fromhex(key.decode())) == 32
    assert key.decode() not in done.output
    assert f"CXSTREAM_CONTROL__KEY_FILE={file}" in done.output
    assert "control.secret=cxstream-control" in done.output
    other = tmp_path / "other"
    CliRunner().invoke(keys.command, ["init", str(other)])
    assert other.read_bytes() != file.read_bytes()


def test_keys_init_replaces_nothing(tmp_path: Path) -> None:
    there, link, missing = tmp_path / "there", tmp_path / "link", tmp_path / "missing"
    there.write_text("a key")
    link.symlink_to(missing)
    for file in (there, link):
        done = CliRunner().invoke(keys.command, ["init", str(file)])
        assert done.exit_code == 1
        assert "exists, and is not replaced" in done.output
    assert there.read_text() == "a key"
    assert not missing.exists()
    done = CliRunner().invoke(keys.command, ["init", str(missing / "key")])
    assert (done.exit_code, "cannot be made: No such file" in done.output) == (1, True)


def test_doctor_says_what_it_means_that_there_is_no_key(tmp_path: Path) -> None:
    def finding(control: Control) -> Finding:
        async def one() -> Finding:
            settings = Settings().model_copy(update={"control": control})
            [found] = [each async for each in computer.control(Patient(settings, None, None, None))]
            return found

        return asyncio.run(one())

    none = finding(Control())
    assert (none.level, "can erase any customer" in none.what) == ("warning", True)
    assert "cxstream keys init" in none.advice
    assert finding(Control(key=KEY.decode(), previous_key=OTHER.decode())).level == "ok"
    file = tmp_path / "key"
    file.write_bytes(KEY)
    file.chmod(0o644)
    assert "others than its owner can read" in finding(Control(key_file=file)).what
    file.chmod(0o440)
    assert finding(Control(key_file=file)).level == "ok"
    assert finding(Control(key_file=tmp_path / "gone")).level == "error"
