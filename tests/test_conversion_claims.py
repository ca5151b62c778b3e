"""What README and docs/convert.md promise of conversions as a whole, held against the commands themselves."""

from __future__ import annotations

import json
import random
import re
import tracemalloc
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from cxstream.cli import main
from cxstream.files.spill import Sorter
from test_docs import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SHOP = ROOT / "examples" / "cdnow"
MAPPING = """
[[event]]
kind = "click"
source = "shop"
subject = { column = "who" }
time = { column = "at" }
data = { channel = "web" }
"""


def cxstream(*words: object) -> None:
    """Run a command to its good end."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 0, words


def table(path: Path, rows: int) -> Path:
    """A CSV of clicks of a few customers."""
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    lines = [f"c{n % 7},{(begin + timedelta(minutes=n)).isoformat()}" for n in range(rows)]
    path.write_text("\n".join(["who,at", *lines, ""]))
    return path


def scored(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Score cards and signals of a replay; ids of signals are places, and left out."""
    cards = [json.loads(line) for line in (folder / "scores.ndjson").read_text().splitlines()]
    signals = [json.loads(line) for line in (folder / "signals.ndjson").read_text().splitlines()]
    for event in (*cards, *signals):
        for name in ("id", "cause"):
            event.pop(name, None)
            event["data"].pop(name, None)
    return cards, sorted(json.dumps(signal, sort_keys=True) for signal in signals)


def segment(path: Path) -> Path:
    """Records of Segment: a few customers, each with far more than a handful of events."""
    draw = random.Random(1)
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    names = ("Product Viewed", "Cart Abandoned", "Order Completed", "Coupon Denied")
    records = [
        {
            "type": "track",
            "event": draw.choice(names),
            "messageId": f"m{n}",
            "userId": f"u{n % 3}",
            "timestamp": (begin + timedelta(minutes=n)).isoformat(),
            "properties": {"total": 12.5, "currency": "EUR"},
        }
        for n in range(300)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("kind", ["mapping", "segment", "shop"])
def test_the_same_input_gives_the_same_file_and_sent_twice_it_counts_once(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.toml").write_text(MAPPING)
    words: list[object] = {
        "mapping": ["mapping", table(tmp_path / "in.csv", 200), "--mapping", tmp_path / "m.toml"],
        "segment": ["segment", segment(tmp_path / "in.ndjson")],
        "shop": ["mapping", SHOP / "purchases.csv", "--mapping", SHOP / "mapping.toml", "--sort"],
    }[kind]
    first, second = tmp_path / "1.ndjson", tmp_path / "2.ndjson"
    for out in (first, second):
        cxstream("convert", *words, "--out", out)
    assert first.read_bytes() == second.read_bytes()
    count = first.read_bytes().count(b"\n")
    assert count >= 200
    cxstream("replay", first, "--out", tmp_path / "once")
    capsys.readouterr()
    cxstream("replay", first, second, "--out", tmp_path / "twice")
    said = " ".join(capsys.readouterr().err.split()).replace(",", "")
    found = re.search(rf"accepted {count} duplicates (\d+) rejected (?:none 0|too_late (\d+)) ", said)
    assert found, said
    # A year of purchases goes back beyond the window when it is sent again: too late, and told as that.
    assert int(found[1]) + int(found[2] or 0) == count
    assert kind == "shop" or not found[2]
    assert scored(tmp_path / "twice") == scored(tmp_path / "once")


@pytest.mark.parametrize("more", [(), ("--sort",)])
def test_memory_does_not_grow_with_the_input(
    more: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A batch, and what is sorted at a time, are held as a whole; small ones, so that few rows are many of them.
    monkeypatch.setattr("cxstream.convert.run._BATCH", 256)
    monkeypatch.setattr("cxstream.convert.run.Sorter", partial(Sorter, 100_000))
    monkeypatch.setattr("cxstream.files.spill._BLOCK_BYTES", 4_000)
    (tmp_path / "m.toml").write_text(MAPPING)

    def peak(rows: int) -> int:
        source = table(tmp_path / f"{rows}.csv", rows)
        tracemalloc.start()
        words = ("--mapping", tmp_path / "m.toml", "--out", tmp_path / "out", *more)
        cxstream("convert", "mapping", source, *words)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(100)  # what is made once, is made
    assert peak(6_000) < peak(1_000) + 500_000
