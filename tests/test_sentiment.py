"""Language and sentiment of texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.cli import group
from cxstream.kernels.ngrams import MAX_WORD, features
from cxstream.model.errors import InputError
from cxstream.model.text import DIGESTS, MODEL, TEXT_LANGUAGES
from cxstream.text.cleaning import cleaned
from cxstream.text.language import Identifier
from cxstream.text.model import TextModel
from cxstream.text.vader import Vader
from cxstream.text.weights import load

DATA = Path(__file__).parents[2] / "shared/data"
TWEETS = DATA / "sentiment_en_vader_icwsm2014/hutto_ICWSM_2014"
ALLEGRO = DATA / "sentiment_pl_allegro/dev.tsv"
GOLDEN = Path(__file__).parent / "golden/sentiment.json"
needs_tweets = pytest.mark.skipif(
    not TWEETS.exists(), reason="VADER's ground truth is not beside this checkout"
)
needs_allegro = pytest.mark.skipif(
    not ALLEGRO.exists(), reason="the Allegro reviews are not beside this checkout"
)

# Words that VADER's rules are about.
PIECES = [
    "good",
    "bad",
    "GREAT",
    "horrible",
    "not",
    "never",
    "so",
    "this",
    "no",
    "nor",
    "or",
    "without",
    "doubt",
    "least",
    "at",
    "very",
    "kind",
    "of",
    "sort",
    "but",
    "BUT",
    "isn't",
    "cannot",
    ":)",
    ":(",
    ":D",
    "<3",
    "the",
    "bomb",
    "shit",
    "yeah",
    "right",
    "kiss",
    "death",
    "to",
    "die",
    "for",
    "bus",
    "stop",
    "!!!",
    "???",
    "?",
    "extremely",
    "REALLY",
    "barely",
    "hardly",
    "😂",
    "😡",
    "💘",
    ",",
    ".",
    "xyz",
    "Xyz",
    "XYZ",
    '"great"',
    "(bad)",
    "it's",
    "just",
    "enough",
    "hand",
    "mouth",
    "ok",
    "lol",
    "sux",
    "smart.",
    "funny!",
    "İ",
    "ǅ",
]
texts = st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join) | st.text(max_size=60)


@pytest.fixture(scope="module")
def model() -> TextModel:
    return TextModel(MODEL, TEXT_LANGUAGES)


@pytest.fixture(scope="module")
def vader() -> Vader:
    return Vader(load(MODEL).english)


@pytest.fixture(scope="module")
def reference():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer().polarity_scores


def ground_truth(name: str) -> list[tuple[float, str]]:
    rows = [line.split("\t") for line in (TWEETS / f"{name}_GroundTruth.txt").read_text("utf-8").splitlines()]
    return [(float(row[1]), row[2].strip()) for row in rows if len(row) > 2]


# --- English


@settings(max_examples=1000, deadline=None)
@given(text=texts)
def test_vader_gives_what_the_reference_gives(text: str, vader: Vader, reference) -> None:
    assert vader.find(text).score == pytest.approx(reference(text)["compound"], abs=1e-4), text


@needs_tweets
@pytest.mark.parametrize("name", ["tweets", "amazonReviewSnippets", "nytEditorialSnippets"])
def test_vader_gives_what_the_reference_gives_on_real_texts(name: str, vader: Vader, reference) -> None:
    for _, text in ground_truth(name)[::5]:
        assert vader.find(text).score == reference(text)["compound"], text


@needs_tweets
def test_sentiments_of_tweets_agree_with_people(model: TextModel) -> None:
    truth, tweets = zip(*ground_truth("tweets"), strict=True)

    def r(found: list[float | None]) -> float:
        return float(np.corrcoef([each or 0 for each in found], truth)[0, 1])

    assert r(model.sentiments(tweets, ["en"] * len(tweets))) > 0.87
    assert r(model.sentiments(tweets)) > 0.86


# --- Polish


@needs_allegro
def test_reviews_with_few_and_with_many_stars_are_told_apart(model: TextModel) -> None:
    from sklearn.metrics import roc_auc_score

    rows = [line.rpartition("\t") for line in ALLEGRO.read_text("utf-8").split("\n")[1:]]
    stars = np.array([float(row[2]) for row in rows if row[0].strip()])
    found = model.sentiments([row[0] for row in rows if row[0].strip()])
    scores = np.array([each or 0.0 for each in found])
    assert roc_auc_score(stars[stars != 3] > 3, scores[stars != 3]) > 0.96
    assert np.mean([each is None for each in found]) < 0.2


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("polecam", "nie polecam"),
        ("Jestem zadowolony z obsługi", "Nie jestem zadowolony z obsługi"),
        ("nie ma problemu", "mam problem z telefonem"),
        ("Wszystko działa bez zarzutu", "Nic nie działa"),
        ("SUPER OBSŁUGA, polecam", "tragedia, nikt nie odbiera"),
        ("swietna jakosc, dziala", "beznadziejna jakość"),
        ("Paczka dotarła 😍", "Paczka dotarła 😡😡😡😡😡😡😡"),
    ],
)
def test_negation_and_emoji_in_polish(good: str, bad: str, model: TextModel) -> None:
    high, low = model.sentiments([good, bad], ["pl", "pl"])
    assert high is not None
    assert high > 0.3
    assert low is None or low < high - 0.3


def slow_features(text: str) -> list[bytes]:
    """Words and n-grams of letters of a text as `features` means them, spelled out."""
    plain = str.maketrans("ąćęłńóśźż", "acelnoszz")
    found: list[bytes] = []
    words: list[str] = []
    negated = 0
    for token in __import__("re").findall(r"[a-z0-9ąćęłńóśźż]+|[.,!?;:\n]", text):
        if token in ".,!?;:\n":
            words, negated = [], 0
            continue
        word = "".join("0" if c.isdigit() else c for c in token.translate(plain))[: MAX_WORD - 2]
        not_ = "!" if negated > 0 else ""
        found.append(f"1{not_}{word}".encode())
        found += [f"{n} {' '.join([*words[1 - n :], word])}".encode() for n in (2, 3) if len(words) >= n - 1]
        marked = f"<{word}>"
        for length in (3, 4, 5):
            found += [
                f"c{not_}{marked[i : i + length]}".encode()
                for i in range(len(marked) - length + 1)
                if length < len(marked)
            ]
        words = [*words[-1:], word]
        is_negation = word in {"nie", "bez", "ani", "brak", "nigdy"} or word.startswith("zadn")
        negated = 3 if is_negation and (len(word) >= 5 or not word.startswith("zadn")) else negated - 1
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "nie",
                "ma",
                "problemu",
                "bez",
                "zarzutu",
                "żadnych",
                ",",
                ".",
                "!",
                "łódź",
                "12",
                "a",
                "ok",
                "świetny",
                "polecam",
                "nigdy",
                "brak",
            ]
        )
        | st.text("aąbcćdeęnieśźż019", min_size=1, max_size=9),
        max_size=14,
    ).map(" ".join)
)
def test_features_are_words_and_letters(text: str) -> None:
    buckets, owners = np.zeros(4096, np.int32), np.zeros(4096, np.int32)
    spans, word = np.zeros((64, 2), np.int32), np.zeros(MAX_WORD, np.uint8)
    raw = np.frombuffer(text.encode(), np.uint8)
    n = features(raw, 0, len(raw), 1 << 30, buckets, owners, spans, word)
    expected = slow_features(text)
    assert n == len(expected)
    # Equal features have equal buckets, and others have others.
    names: dict[int, bytes] = {}
    for bucket, name in zip(buckets[:n].tolist(), expected, strict=True):
        assert names.setdefault(bucket, name) == name
    assert len(names) == len(set(expected))


# --- language


def test_languages(model: TextModel) -> None:
    said = {
        "Where is my parcel? It is a week late.": "en",
        "Gdzie jest moja paczka? Czekam już tydzień.": "pl",
        "Wo ist mein Paket? Ich warte seit einer Woche.": None,
        "Ha sido la peor compra de mi vida": None,
        "la commande est cassée, quelle honte": None,
        "Де моя посилка? Чекаю вже тиждень": None,
        "荷物はどこですか": None,
        "12345": None,
        "": None,
    }
    assert dict(zip(said, model.languages(list(said)), strict=True)) == said
    only = TextModel(MODEL, ["en"])
    assert only.languages(["Gdzie jest moja paczka? Czekam już tydzień."]) == [None]


def test_the_language_that_the_source_says_decides(model: TextModel) -> None:
    some = ["super", "super", "I love it", "I love it", "I love it"]
    found = model.sentiments(some, ["pl-PL", "en_GB", "de", "und", None])
    assert found[0] > 0.9
    assert found[1] == 0.5994
    assert found[2] is None
    assert found[3] == found[4] == 0.6369


@needs_tweets
def test_languages_agree_with_py3langid() -> None:
    from py3langid.langid import LanguageIdentifier

    weights = load(MODEL).language
    theirs = LanguageIdentifier.from_model_file("data/model.npz.xz")
    theirs.set_languages(weights.names)
    some = [text for _, text in ground_truth("movieReviewSnippets")[::20]]
    some += [text for _, text in ground_truth("tweets")[::20]]
    ours = Identifier(weights, weights.names).identify(some)
    agreed = [
        theirs.classify(text[:200])[0] == next(iter(near)) for text, near in zip(some, ours, strict=True)
    ]
    assert np.mean(agreed) > 0.97


# --- the model


def test_what_others_said_does_not_count() -> None:
    assert (
        cleaned("@shop thanks https://a.example/great #GreatService #so_bad")
        == "@ thanks @ Great Service so bad"
    )
    quoted = "Not good.\n\n> We are happy to help\n> great news\nBye"
    assert cleaned(quoted) == "Not good.\n\nBye"
    for line in (
        "On 3 May 2026, Anna <a@b.pl> wrote:",
        "W dniu 3.05.2026 o 12:00 Anna pisze:",
        "-----Original Message-----",
    ):
        assert cleaned(f"Still broken\n{line}\n\ngreat, happy to help").strip() == "Still broken"


def test_a_verdict_has_evidence_without_personal_data(model: TextModel) -> None:
    found = model.explain("I am not happy at all, terrible@shop.example helps nobody")
    assert found.language == "en"
    assert found.sentiment is not None
    assert found.sentiment < 0
    assert found.evidence[0] == "not happy"
    found = model.explain("Nie polecam 600 700 800, złodzieje")
    assert found.sentiment is not None
    assert found.sentiment < -0.9
    assert any("nie polecam" in each.lower() for each in found.evidence)
    assert not any(digit in "".join(found.evidence) for digit in "678")


def test_it_abstains(model: TextModel) -> None:
    assert model.sentiments(["Where is my parcel?", "Gdzie jest paczka?", "", "   ", "???"]) == [None] * 5
    assert model.sentiments(["😍😍", "😡"])[0] > 0.9


@settings(max_examples=200, deadline=None)
@given(st.lists(texts, max_size=6))
def test_a_sentiment_depends_on_its_text_alone(some: list[str]) -> None:
    model = TextModel(MODEL, TEXT_LANGUAGES)
    found = model.sentiments(some)
    assert found == [model.sentiments([text])[0] for text in some]
    assert all(each is None or -1 <= each <= 1 for each in found)
    assert found == [model.explain(text).sentiment for text in some]


def test_texts_that_repeat_are_kept_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxstream.text.model._KEPT", 20)
    model = TextModel(MODEL, TEXT_LANGUAGES)
    some, tags = [f"good {i % 30}" for i in range(90)], ["en", "de", None] * 30
    expected = [0.4404, None, 0.4404] * 30
    for begin in range(0, 90, 7):
        part = slice(begin, begin + 7)
        assert model.sentiments(some[part], tags[part]) == expected[part]
        assert len(model._known) <= 20
    model.sentiments(["good " * 20])
    assert b"" not in model._known


def test_long_and_odd_texts(model: TextModel) -> None:
    some = [
        "bad good but " * 1500,
        "nie " * 5000,
        "ż" * 20_000,
        "\ud800 bad",
        "\0" * 100,
        ":(" * 9000,
        "@" * 20_000,
    ]
    some += ["a@" * 10_000, "> " * 10_000, "On " * 6000, "#a" * 10_000, "1 " * 10_000]
    assert len(model.sentiments(some)) == len(some)
    for text in some:
        model.explain(text)


def test_the_weights_are_those_that_rules_name() -> None:
    assert {name: load(name).digest for name in DIGESTS} == DIGESTS


def test_released_sentiments_stay(model: TextModel) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden["model"] == MODEL
    found = {text: model.sentiments([text])[0] for text in golden["sentiments"]}
    assert found == golden["sentiments"], "results of a released model changed: give it a new name"


# --- the command


def test_the_command_shows_language_sentiment_and_evidence(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    touchpoint = {"data": {"text": "super", "lang": "pl"}}
    path.write_text(
        f"I love it, call 600 700 800\n\nNie polecam\n{json.dumps(touchpoint)}\n{{not json\nNo sé\n"
    )
    result = CliRunner().invoke(group, ["sentiment", str(path), "--format", "ndjson"])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.output.splitlines()]
    assert [row["language"] for row in rows[:3]] == ["en", "pl", "pl"]
    assert rows[0] == {
        "text": "I love it, call [phone]",
        "language": "en",
        "sentiment": 0.6369,
        "evidence": ["love"],
    }
    assert len(rows) == 5
    result = CliRunner().invoke(group, ["sentiment", "--limit", "1"], input="I love it\nI hate it\n")
    assert "+0.64" in result.stdout
    assert "hate" not in result.stdout
    assert "--limit" in result.stderr


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(group, ["sentiment", str(tmp_path / "none.txt")])
    assert isinstance(result.exception, InputError)
    assert "none.txt: No such file" in str(result.exception)
