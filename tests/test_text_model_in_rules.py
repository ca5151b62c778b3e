"""Texts in the stream: the text model that the rules name gives the sentiment that a source did not send."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz_plain
from cxstream.cli.replay import command
from cxstream.files.scored import record_batch
from cxstream.kernels.layout import HAS_VALUE
from cxstream.model.errors import InstallationError
from cxstream.model.kinds import Kind
from cxstream.model.parameters import ScoringParams, TextModelParams
from cxstream.model.rules import RulesError, read_rules, rules_of
from cxstream.model.text import DIGESTS, MODEL, READ
from cxstream.scoring.codec import texts
from cxstream.scoring.codec.decode import decode
from cxstream.scoring.codec.plain import NUMBER, read_plain
from cxstream.scoring.codec.texts import text_model
from cxstream.scoring.codec.vocabulary import BUILT_IN
from cxstream.scoring.engine import Engine, Outcome, Records
from cxstream.scoring.router import Router
from cxstream.settings import ACTIONS
from cxstream.wire.examples import example
from strategies import PARAMS, Entry, random_history, rfc3339
from test_scores import assert_agrees, encoded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


START = 1_709_300_000_000
NAMED = {"name": MODEL, "digest": DIGESTS[MODEL]}
READING = ScoringParams.model_validate({"name": "reading", "text_model": NAMED})
SAID = (
    "I love it, thank you!",
    "This is terrible, I hate it",
    "Nie polecam, fatalna obs\u0142uga",
    "bardzo dobry sklep",
    "super \U0001f60d",
    "Where is my parcel?",
    "Das ist wirklich sehr schlecht und ich bin b\u00f6se",
    "\U0001f621",
    'a "quoted"\nline > I hate it',
    "",
)


def record(kind: Kind, number: int, subject: str = "anna", **data: Any) -> bytes:
    event = example(kind) | {"id": f"{number}", "subject": subject, "time": rfc3339(START + number * 60_000)}
    plain = {
        name: value for name, value in event["data"].items() if name not in {"text", "lang", "sentiment"}
    }
    return json.dumps({**event, "data": plain | data}, ensure_ascii=False).encode()


def rules(params: ScoringParams, number: int) -> bytes:
    event = {"specversion": "1.0", "id": f"rules-{number}", "source": "/rules", "type": "cx.rules.v1"}
    event |= {
        "time": rfc3339(START + number * 60_000),
        "data": json.loads(rules_of(params, ACTIONS).data),
    }
    return json.dumps(event).encode()


def log_of(n: int) -> list[bytes]:
    """Touchpoints of some kinds, with and without texts and sentiments."""
    kinds = [*sorted(READ), Kind.page_view, Kind.search, Kind.social_post]
    values = []
    for i in range(n):
        data: dict[str, Any] = {}
        if i % 3:
            data["text"] = SAID[i % len(SAID)]
        if i % 7 == 0:
            data["sentiment"] = 0.125
        if i % 5 == 0:
            data["lang"] = ("en", "pl-PL", "de")[i % 3]
        values.append(record(kinds[i % len(kinds)], i, f"customer-{i % 5}", **data))
    return values


def run(values: Sequence[bytes], cuts: Sequence[int], params: ScoringParams) -> tuple[Engine, list[Outcome]]:
    engine = Engine(params, ACTIONS)
    engine.scored = True
    ends = [*cuts, len(values)]
    outcomes = [
        engine.process(Records(values[begin:end], range(begin, end)))
        for begin, end in zip([0, *cuts], ends, strict=True)
    ]
    return engine, outcomes


def rows_of(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    return [row for each in outcomes if each.scored for row in record_batch(each.scored).to_pylist()]


def told(engine: Engine, outcomes: Sequence[Outcome]) -> tuple[Any, ...]:
    return (
        [(row.topic, row.value) for each in outcomes for row in each.rows],
        sorted(engine.cards()),
        rows_of(outcomes),
    )


# --- the rules


def test_rules_without_a_text_model_keep_their_digests() -> None:
    assert {name: rules_of(params, ACTIONS).label for name, params in PARAMS.items()} == {
        "default": "default-2@a1e21f65",
        "unforgiving": "default-1@c9cdbcf5",
        "short": "default-1@3e4c03f9",
        "touchy": "default-1@7e9d5790",
        "forgetful": "default-1@52054314",
        "shop": "shop-1@b74e4ad4",
        "mindful": "default-1@4b7d758f",
        "own": "own-1@1e332706",
    }
    assert b"text_model" not in rules_of(ScoringParams(), ACTIONS).data


@pytest.mark.parametrize(
    ("named", "field", "words"),
    [
        (NAMED | {"name": "en-pl-9"}, "name", "no text model of this version; there is en-pl-1"),
        (NAMED | {"digest": "00000000"}, "digest", "not the digest of en-pl-1, which is d45cdb42"),
        (NAMED | {"languages": []}, "languages", "at least 1"),
        (NAMED | {"languages": ["de"]}, "languages.0", "'en' or 'pl'"),
        ({"name": MODEL}, "digest", "required"),
    ],
)
def test_a_model_that_is_not_there_is_refused(named: dict[str, Any], field: str, words: str) -> None:
    data = json.dumps({"scoring": {"text_model": named}}).encode()
    with pytest.raises(RulesError, match=words) as refused:
        read_rules(data)
    assert refused.value.field == f"data.scoring.text_model.{field}"
    record = json.loads(rules(READING, 1))
    record["data"]["scoring"]["text_model"] = named
    _, [outcome] = run([json.dumps(record).encode()], [], ScoringParams())
    assert [(each.reason, each.field) for each in outcome.rejected] == [("invalid", refused.value.field)]


def test_the_order_of_languages_does_not_matter() -> None:
    named = TextModelParams.model_validate(NAMED | {"languages": ["pl", "en"]})
    assert named == READING.text_model


def test_damaged_weights_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIGESTS, MODEL, "00000000")
    named = TextModelParams(name=MODEL, digest="00000000")
    with pytest.raises(InstallationError, match="damaged"):
        texts.text_model(named)


# --- what is read


@pytest.mark.parametrize("kind", sorted(READ), ids=lambda kind: kind.name)
def test_a_text_without_a_sentiment_gets_one(kind: Kind) -> None:
    values = [
        record(kind, 1, text="I love it"),
        record(kind, 2, text="I love it", sentiment=-0.5),
        record(kind, 3, text="I love it", sentiment=0),
        record(kind, 4, text="Where is my parcel?"),
        record(kind, 5, text=""),
        record(kind, 6),
        record(kind, 7, text="I love it", lang="de"),
        record(kind, 8, text="I love it", sentiment=None),
    ]
    found = decode(values, texts=text_model(READING.text_model)).events
    assert [each.data.sentiment for each in found] == [0.6369, -0.5, 0, None, None, None, None, 0.6369]
    assert [each.data.sentiment for each in decode(values).events] == [None, -0.5, 0, *[None] * 5]


def test_what_is_no_opinion_is_not_read() -> None:
    others = [kind for kind in Kind if kind not in {*READ, Kind.purchase_history}]
    values = [record(kind, int(kind), text="I love it") for kind in others]
    decoded = decode(values, texts=text_model(READING.text_model))
    assert len(decoded.events) == len(others)
    assert {each.data.sentiment for each in decoded.events} == {None}
    contract = BUILT_IN.contract
    assert contract is not None
    assert read_plain(contract, values).known.all()


def test_a_social_post_counts_by_its_text() -> None:
    bad = [record(Kind.social_post, i, text="I hate it, this is terrible") for i in range(3)]
    unread, _ = run(bad, [], ScoringParams())
    engine, outcomes = run(bad, [], READING)
    given, _ = run(
        [record(Kind.social_post, i, text="x", sentiment=-0.7783) for i in range(3)], [], ScoringParams()
    )
    [row, *_] = rows_of(outcomes)
    assert row["sentiment"] == pytest.approx(-0.7783)

    def satisfaction(of: Engine) -> float:
        found = of.card("anna")
        assert found is not None
        return float(json.loads(found)["data"]["satisfaction"])

    assert satisfaction(engine) == satisfaction(given) < satisfaction(unread)


@pytest.mark.parametrize("kind", sorted(READ), ids=lambda kind: kind.name)
def test_records_with_texts_stay_in_columns(kind: Kind) -> None:
    values = [
        record(kind, 1, text="I love it", sentiment=-0.5),
        record(kind, 2, text="I love it", sentiment=0),
        record(kind, 3, text="I love it"),
        record(kind, 4, text="I love it", sentiment=None),
        record(kind, 5),
        record(kind, 6, text='I "love" it', sentiment=1),
        record(kind, 7, text='I "hate" it'),
    ]
    contract = BUILT_IN.contract
    assert contract is not None
    assert read_plain(contract, values).known.all()
    decoded = decode(values, texts=text_model(READING.text_model), fields=True)
    assert decoded.events.fields is not None
    numbers = decoded.events.fields.numbers[:, NUMBER["sentiment"]]
    expected = [-0.5, 0, 0.6369, 0.6369, None, 1, -0.5719]
    assert [each.data.sentiment for each in decoded.events] == expected
    assert [n for n, told in zip(numbers.tolist(), expected, strict=True) if told is not None] == [
        each for each in expected if each is not None
    ]
    counts = kind == Kind.social_post
    assert (decoded.columns["flags"] & HAS_VALUE != 0).tolist() == [
        counts and each is not None for each in expected
    ]


# --- one result, whoever computes it


@given(st.integers(0, 2**32))
@settings(max_examples=6, deadline=None)
def test_kernel_and_general_decoder_agree_with_a_text_model(seed: int) -> None:
    fast, general = fuzz_plain.vocabularies()
    general.contract = None
    records = fuzz_plain.Writer(seed).records()
    values = [*(next(records) for _ in range(300)), *log_of(100)]
    assert fuzz_plain.compare(values, fast, general, text_model(READING.text_model)) > 0


def spoken(history: list[Entry], seed: int) -> list[Entry]:
    """The history, with texts."""
    told = []
    for i, (event, limit) in enumerate(history):
        data = event.get("data")
        if isinstance(data, dict) and "channel" in data and (i + seed) % 4:
            data = {**data, "text": SAID[(i + seed) % len(SAID)]}
            told.append(({**event, "data": data}, limit))
        else:
            told.append((event, limit))
    return told


@pytest.mark.parametrize("seed", [1, 2])
def test_kernels_agree_with_the_oracle_about_texts(seed: int) -> None:
    history = spoken(random_history(seed, 1500, rules=seed % 2 == 0), seed)
    params = PARAMS["touchy"].model_copy(update={"text_model": READING.text_model})
    assert_agrees(history, params)
    assert len(encoded(history)[0]) == len(history)


LOG = log_of(120)
LOG[90:90] = [rules(ScoringParams(name="again"), 89)]
LOG[30:30] = [rules(READING, 30)]


@cache
def whole() -> tuple[Any, ...]:
    return told(*run(LOG, [], ScoringParams()))


@given(st.lists(st.integers(1, len(LOG) - 1), unique=True, max_size=8).map(sorted))
@settings(max_examples=20, deadline=None)
def test_where_a_log_is_cut_changes_no_sentiment(cuts: list[int]) -> None:
    assert told(*run(LOG, cuts, ScoringParams())) == whole()


def test_the_model_is_that_of_the_rules_in_force() -> None:
    model, rows = text_model(READING.text_model), {row["offset"]: row["sentiment"] for row in whole()[2]}
    assert model is not None
    assert len(rows) == 120
    seen = set()
    for offset, sentiment in rows.items():
        event = json.loads(LOG[offset])
        data, is_read = event["data"], event["type"] in {kind.type for kind in READ}
        expected, in_force = data.get("sentiment"), 30 < offset < 91
        if expected is None and in_force and is_read and data.get("text"):
            [expected] = model.sentiments([data["text"]], [data.get("lang")])
        assert sentiment == expected, offset
        seen.add((in_force, is_read, "text" in data, data.get("sentiment"), sentiment is None))
    # Read, given, abstained, of another kind, and before or after.
    assert {
        (True, True, True, None, False),
        (True, True, True, 0.125, False),
        (True, True, True, None, True),
    } <= seen
    assert {(True, False, True, None, True), (False, True, True, None, True)} <= seen


def test_restored_state_reads_texts_by_the_rules_of_the_log() -> None:
    engine, _ = run(LOG[:60], [], ScoringParams())
    rows = {key: value for key, value in engine.snapshot() if value is not None}
    restored = Engine.restore(ScoringParams(), ACTIONS, rows)
    restored.scored = True
    outcome = restored.process(Records(LOG[60:], range(60, len(LOG))))
    assert rows_of([outcome]) == [row for row in whole()[2] if row["offset"] >= 60]


def test_a_router_reads_texts_as_an_engine_does() -> None:
    router = Router(ScoringParams(), ACTIONS)
    router.engines[0].scored = True
    outcome = router.process(LOG)
    assert rows_of([outcome]) == whole()[2]
    assert [(row.topic, row.value) for row in outcome.rows] == whole()[0]


def test_replay_reads_texts_as_the_rules_say(tmp_path: Path) -> None:
    source, file = tmp_path / "touchpoints.ndjson", tmp_path / "rules.toml"
    values = log_of(120)
    source.write_bytes(b"".join(value + b"\n" for value in values))
    file.write_text(
        f'[scoring]\nname = "reading"\n[scoring.text_model]\nname = "{MODEL}"\ndigest = "{DIGESTS[MODEL]}"\n'
    )
    out, scored = tmp_path / "out", tmp_path / "scored.arrow"
    words = [str(source), "--out", str(out), "--rules", str(file), "--scored", str(scored)]
    assert CliRunner().invoke(command, words, catch_exceptions=False).exit_code == 0
    with pa.OSFile(str(scored)) as opened, pa.ipc.open_file(opened) as reader:
        rows = sorted(reader.read_all().to_pylist(), key=lambda row: row["offset"])
    engine, outcomes = run(values, [], READING)
    expected = rows_of(outcomes)
    assert [row["sentiment"] for row in rows] == [row["sentiment"] for row in expected]
    assert sum(row["sentiment"] is not None for row in rows) > 40
    cards = (out / "scores.ndjson").read_bytes().splitlines()
    assert cards == sorted(value for _, value in engine.cards())
