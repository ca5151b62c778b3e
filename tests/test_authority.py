"""Signatures of control records: what is signed, by which key, and what does not count."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.model.errors import SettingsError
from cxstream.scoring.authority import (
    MAX_ATTRIBUTES,
    MAX_BYTES,
    MIN_KEY_BYTES,
    Authority,
    canonical,
    derived,
)
from cxstream.settings import Control, Settings

if TYPE_CHECKING:
    from pathlib import Path

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
