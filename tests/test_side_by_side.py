"""`make bench`: rates, ratios and the table; a peer that is missing or fails is said there and stops nothing."""

from __future__ import annotations

import sys
from argparse import Namespace
from statistics import median
from typing import TYPE_CHECKING, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

import side_by_side
from cxstream.kafka.admin import administration
from cxstream.settings import Settings
from peers import install as installing
from peers.catalogue import PEERS, Peer
from peers.install import MissingError, install, telling_line
from peers.measure import FailedError, Limits, rate, run, told
from peers.table import OURS, Results, markdown

if TYPE_CHECKING:
    from pathlib import Path

    from cxstream.local import LocalKafka

HELLO = "import sys, time\nfor n in (100, 300, 700):\n  print('done', n, float(n) / 100, flush=True)\ntime.sleep(300)\n"


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)), max_size=30), st.data())
def test_the_rate_is_events_over_seconds_from_the_first_progress_to_the_last(
    steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    ticks, at, done = [], 0.0, 0
    for ms, more in steps:
        at, done = at + ms / 1000, done + more
        # What is asked often is the same as before most of the time.
        ticks += [(at + i / 1e6, done) for i in range(data.draw(st.integers(1, 3)))]
    moved = [i for i in range(len(ticks)) if ticks[i][1] > (ticks[i - 1][1] if i else 0)]
    if len(moved) < 2:
        with pytest.raises(FailedError, match="steps of progress"):
            rate(ticks)
        return
    first, last = ticks[moved[0]], ticks[moved[-1]]
    assert rate(ticks) == (last[1] - first[1]) / (last[0] - first[0])


def test_progress_is_read_from_whole_lines_between_others() -> None:
    assert told("WARN done 3\ndone 10 1.5\nlog\ndone 30 2.25\ndone 40 3.") == [(1.5, 10), (2.25, 30)]


@given(st.dictionaries(st.sampled_from("abcde"), st.floats(1, 1e6), min_size=1), st.floats(1, 1e6))
def test_ratios_are_of_the_same_round(theirs: dict[str, float], ours: float) -> None:
    results = Results()
    for number, each in theirs.items():
        results.add("peer", number, each)
        if number != "a":  # a round in which cxstream failed has no ratio
            results.add(OURS, number, ours * ord(number))
    assert results.ratios("peer") == [
        ours * ord(number) / each for number, each in theirs.items() if number != "a"
    ]
    table = markdown(results, [(OURS, "we", "all"), ("peer", "P", "a sum"), ("none", "N", "a sum")])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert all(len(row) == 5 for row in rows)
    assert rows[1][2].startswith(f"{median(theirs.values()):,.0f} ({min(theirs.values()):,.0f} to ")
    assert rows[1][4] == str(len(theirs))
    assert rows[2][2:] == ["not measured: not run", "-", "0"]


def test_a_peer_without_a_wheel_is_missing_with_the_reason(tmp_path: Path) -> None:
    peer = Peer("none", "None", "none.py", "a sum", packages=("./no-such-package-here",))
    with pytest.raises(MissingError, match="no-such-package-here"):
        install(peer, lambda _: None, cache=tmp_path)
    assert not list(tmp_path.rglob(".complete"))


def test_a_peer_that_needs_more_of_java_than_there_is_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingError, match=r"needs a JDK with jdk\.incubator"):
        installing.java_with("jdk.incubator.vector")


def test_the_line_that_says_most_is_the_last_error() -> None:
    assert telling_line("a\nERROR: no wheel\nhint: b\n\n") == "ERROR: no wheel"
    assert telling_line("a\nb\n") == "b"
    assert telling_line("Exception: why\n\tat Some.error(File.java)\n") == "Exception: why"
    assert telling_line("") == "no output"


def test_every_peer_has_its_program_and_fixed_versions() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    for peer in PEERS:
        program = installing.PROGRAMS / peer.program
        text = program.read_text()
        assert text
        if program.suffix == ".py":
            compile(text, str(program), "exec")
            assert peer.commits or '"done"' in text
        assert all("==" in package for package in peer.packages)
        assert all(jar.count(":") == 2 for jar in peer.jars)


def test_rounds_begin_with_cxstream_and_take_peers_in_alternating_order() -> None:
    pairs = [(peer, object()) for peer in PEERS[:2]]
    names = [peer.name if peer else OURS for _, peer, _ in side_by_side.turns(pairs, 2)]
    first, second = (peer.name for peer, _ in pairs)
    assert names == [OURS, first, second, OURS, second, first]


async def test_an_engine_is_measured_until_its_last_event_and_one_that_ends_says_why(
    broker: LocalKafka,
) -> None:
    async def measured(program: str, name: str, events: int, start: float = 240.0) -> float:
        return await run(
            broker.bootstrap,
            lambda _folder, _result: [sys.executable, "-c", program],
            {},
            group=f"bench-{name}",
            commits=False,
            events=events,
            limits=Limits(start, 240.0),
        )

    assert await measured(HELLO, "good", 700) == 600 / 6
    with pytest.raises(FailedError, match="ended: ZeroDivisionError"):
        await measured("1 / 0", "ends", 700)
    with pytest.raises(FailedError, match="nothing done in 0 s: no output"):
        await measured("import time; time.sleep(300)", "idle", 700, start=0.0)
    async with administration(Settings(kafka=broker.bootstrap)) as admin:
        await admin.delete_topics([f"bench-{name}-sums" for name in ("good", "ends", "idle")])


def test_what_fails_is_noted_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kafka:
        bootstrap = "nowhere:1"

        def __init__(self, **_: object) -> None: ...
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

    async def nothing(_: str) -> None: ...

    def peer_rate(_: str, peer: Peer, *__: object) -> float:
        if peer.name == "quix":
            raise FailedError("it is broken")
        return 50.0

    def installed(peer: Peer, _: object) -> object:
        if peer.name == "spark":
            raise MissingError("no wheel")
        return object()

    monkeypatch.setattr(side_by_side, "LocalKafka", Kafka)
    monkeypatch.setattr(side_by_side, "compile_kernels", lambda: None)
    monkeypatch.setattr(side_by_side, "fill", lambda *_: None)
    monkeypatch.setattr(side_by_side, "forget", nothing)
    monkeypatch.setattr(side_by_side, "install", installed)
    monkeypatch.setattr(side_by_side, "cxstream", lambda *_: 1000.0)
    monkeypatch.setattr(side_by_side, "peer_rate", peer_rate)
    results = Results()
    chosen = ["spark", "quix", "faust"]
    side_by_side.measure(
        Namespace(only=chosen, runs=2, events=9, customers=1, seconds=1, start_seconds=1), results
    )
    assert list(results.rates) == [OURS, "faust"]
    assert results.ratios("faust") == [20.0, 20.0]
    assert results.failed == {"spark": "not installed: no wheel", "quix": "it is broken"}
