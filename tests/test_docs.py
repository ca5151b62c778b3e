"""The documents say what the code does.

`python tests/test_docs.py --write` writes the tables of docs/settings.md, docs/metrics.md and docs/scored.md, the kinds of
docs/events.md and the views of docs/views.md anew; everything else is written by people.
"""

from __future__ import annotations

import io
import json
import math
import re
import shlex
import sys
import tokenize
from pathlib import Path
from textwrap import fill
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import click
import pytest
from click.testing import CliRunner
from pydantic import AwareDatetime, BaseModel, SecretStr

from cxstream.cli import COMMANDS, group
from cxstream.kernels import layout as k
from cxstream.model.experiments import Experiment
from cxstream.model.features import FEATURES
from cxstream.model.kinds import Kind
from cxstream.model.parameters import (
    DAY_MS,
    OwnKind,
    Points,
    PurchaseModel,
    ScoringParams,
    TextModelParams,
    ValueModel,
)
from cxstream.model.scored import COLUMNS
from cxstream.scoring import words
from cxstream.scoring.engine import Engine, Records
from cxstream.settings import ACTIONS, Settings, load
from cxstream.warehouse.views import definition
from cxstream.worker.metrics.definitions import GROUPS, Metric
from oracle import Oracle, to_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

ROOT = Path(__file__).parent.parent
SETTINGS = ROOT / "docs" / "settings.md"
VIEWS = ROOT / "docs" / "views.md"
EVENTS = ROOT / "docs" / "events.md"
SCORED = ROOT / "docs" / "scored.md"
METRICS_DOCUMENT = ROOT / "docs" / "metrics.md"
SCORING = ROOT / "docs" / "scoring.md"
README = ROOT / "README.md"
COMMAND_LIST = ROOT / "docs" / "commands.md"
FIRST_STEPS = ROOT / "docs" / "first-steps.md"
CRM = ROOT / "docs" / "crm.md"
STORY = ROOT / "examples" / "story.ndjson"

FOLDERS = ("docs", "examples", "benchmarks", "deploy")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.md"))])
SHELLS = {"", "sh", "console", "bash"}
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """Language and text of each fenced block."""
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        yield found[1], found[2]


def tables(text: str) -> Iterator[list[list[str]]]:
    """Rows of cells of each table, heading included."""
    for found in re.finditer(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip("|").split(" | ")] for line in found[0].strip().split("\n")
        ]
        yield [[cell.strip(" |") for cell in row] for i, row in enumerate(rows) if i != 1]


def table(path: Path, *heading: str) -> list[list[str]]:
    """The rows of the table under this heading row."""
    return next(rows[1:] for rows in tables(path.read_text()) if rows[0] == list(heading))


def section(path: Path, title: str) -> str:
    """Text under a heading, up to the next one of its level."""
    return path.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


# --- settings


def in_toml(value: Any) -> str:
    """A default as it would stand in the settings file."""
    match value:
        case bool():
            return str(value).lower()
        case BaseModel() | dict():
            inside = dict(value)
            return "{ " + ", ".join(f"{name} = {in_toml(one)}" for name, one in inside.items()) + " }"
        case tuple() | list():
            return "[" + ", ".join(map(in_toml, value)) + "]"
        case float():
            return f"{value:g}"
        case int():
            return str(value)
    return json.dumps(str(value))


def bounds(metadata: list[Any]) -> str:
    """Limits of a value, in words."""
    limits = {
        name: getattr(one, name)
        for one in metadata
        for name in ("gt", "ge", "lt", "le")
        if hasattr(one, name)
    }
    said = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
    return " and ".join(f"{said[name]} {value:g}" for name, value in limits.items())


def plural(kind: str) -> str:
    """More than one of a type."""
    return kind if kind.startswith("`") else f"{kind}s"


def kind_of(annotation: Any) -> str:
    """A type in words."""
    simple = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        Path: "path",
        AwareDatetime: "time",
        SecretStr: "secret text",
        Points: "`effort` and `mood`",
        OwnKind: "kind",
        Experiment: "experiment",
        PurchaseModel: "table",
        ValueModel: "table",
        TextModelParams: "table",
    }
    if annotation in simple:
        return simple[annotation]
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inside)
    if origin in {Union, UnionType}:
        return " or ".join(kind_of(one) for one in inside if one is not NoneType)
    if origin is dict:
        return f"table of {plural(kind_of(inside[1]))}"
    if origin is tuple:
        return f"{'list of' if inside[-1] is ... else len(inside)} {plural(kind_of(inside[0]))}"
    return kind_of(inside[0])  # Annotated


def row_of(path: str, field: FieldInfo) -> str:
    """One setting."""
    default = field.get_default(call_default_factory=True)
    limits = bounds(field.metadata)
    kind = kind_of(field.annotation) + (f", {limits}" if limits else "")
    variable = "CXSTREAM_" + path.upper().replace(".", "__")
    shown = "" if default is None else "below" if isinstance(default, dict) else f"`{in_toml(default)}`"
    return f"| `{path}` | `{variable}` | {kind} | {shown} | {field.description} |"


HEADING = "| setting | variable | type | default | meaning |\n|---|---|---|---|---|"


def sections_of(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The fields that are sections of their own."""
    return {
        name: field.annotation
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def generated() -> str:
    """Tables of all settings."""
    sections = sections_of(Settings)
    parts = ["## General", HEADING]
    parts += [
        row_of(name, field)
        for name, field in Settings.model_fields.items()
        if name not in sections and name != "actions"
    ]
    for name, model in sections.items():
        parts += ["", f"## {name}", "", str(Settings.model_fields[name].description), "", HEADING]
        parts += [row_of(f"{name}.{inner}", field) for inner, field in model.model_fields.items()]
    defaults = ScoringParams()
    parts += ["", "### scoring.points", "", "| kind | default |", "|---|---|"]
    parts += [f"| `{kind}` | `{in_toml(points)}` |" for kind, points in defaults.points.items()]
    for name in ("coefficients", "typical"):
        parts += ["", f"### scoring.{name}", "", "| feature | default |", "|---|---|"]
        parts += [f"| `{feature}` | `{in_toml(b)}` |" for feature, b in getattr(defaults, name).items()]
    parts += ["", "## actions", "", HEADING, row_of("actions", Settings.model_fields["actions"])]
    parts += ["", "| feature | default |", "|---|---|"]
    parts += [f"| `{feature}` | `{in_toml(action)}` |" for feature, action in Settings().actions.items()]
    return "\n".join(parts).replace("## General\n|", "## General\n\n|")


def test_every_setting_stands_in_its_document_as_it_is() -> None:
    written = SETTINGS.read_text().split(BEGIN)[1].split(END)[0].strip()
    assert written == generated(), "run: python tests/test_docs.py --write"


def metric_tables() -> str:
    """Tables of all metrics."""
    parts = []
    for title, metrics in GROUPS.items():
        parts += [
            "",
            f"## {title}",
            "",
            "| metric | type | unit | labels | meaning |",
            "|---|---|---|---|---|",
        ]
        parts += [metric_row(metric) for metric in metrics]
    return "\n".join(parts).strip("\n")


def metric_row(metric: Metric) -> str:
    """One metric."""
    labels = [
        f"`{name}`: {values if isinstance(values, str) else ', '.join(values)}"
        for name, values in metric.labels.items()
    ]
    buckets = (
        " Bounds: " + ", ".join(f"{bound:g}" for bound in metric.buckets) + "." if metric.buckets else ""
    )
    kind = {"gaugehistogram": "gauge histogram"}.get(metric.type, metric.type)
    return f"| `{metric.name}` | {kind} | {metric.unit} | {'; '.join(labels)} | {metric.meaning}{buckets} |"


def test_every_metric_stands_in_its_document_as_it_is() -> None:
    written = METRICS_DOCUMENT.read_text().split(BEGIN)[1].split(END)[0].strip()
    assert written == metric_tables(), "run: python tests/test_docs.py --write"


def test_every_setting_has_a_description() -> None:
    models: list[type[BaseModel]] = [Settings, *sections_of(Settings).values()]
    for model in models:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


def test_example_of_the_settings_file_is_one(tmp_path: Path) -> None:
    examples = [text for language, text in blocks(SETTINGS) if language == "toml"]
    assert examples
    for text in examples:
        file = tmp_path / "cxstream.toml"
        file.write_text(text)
        assert load(file) != Settings()


def test_tables_in_a_settings_file_count_as_the_document_says(tmp_path: Path) -> None:
    file = tmp_path / "cxstream.toml"
    file.write_text("[actions]\neffort = 'x'\n[scoring.points.error]\neffort = 3\n")
    settings = load(file)
    assert settings.actions == ACTIONS | {"effort": "x"}
    assert settings.scoring.points["error"] == Points(effort=3, mood=-1)
    assert settings.scoring.points["contact"] == ScoringParams().points["contact"]


# --- commands


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and subcommand."""

    def below(
        names: tuple[str, ...], command: click.Command
    ) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        yield names, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from below((*names, name), inner)

    yield from below((), group)


@pytest.mark.parametrize(("names", "command"), list(commands()))
def test_help_of_every_command_has_an_example(names: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(group, [*names, "--help"])
    assert result.exit_code == 0
    assert command.help
    assert "Example" in result.output


def test_every_command_is_in_the_list_of_commands() -> None:
    named = {row[0].strip("`") for row in table(COMMAND_LIST, "command", "what it does")}
    assert named == set(COMMANDS)


def command_lines(text: str) -> Iterator[list[str]]:
    """What a block runs, a list of words a command."""
    for line in text.replace("\\\n", " ").split("\n"):
        words_of = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>")
        words_of.whitespace_split = True
        found: list[str] = []
        try:
            found = list(words_of)
        except ValueError:  # a line of output
            continue
        start = 0
        for i, word in enumerate([*found, "|"]):
            if word and set(word) <= set("|&;<>"):
                if found[start:i]:
                    yield found[start:i]
                start = i + 1


def check_command(arguments: list[str]) -> None:
    """Parse a command line as click would, without opening files.

    Raises:
        click.UsageError: no such command or option, a value that is none, or something is missing.
    """
    command: click.Command = group
    context = click.Context(group, info_name="cxstream")
    while True:
        values, rest, _ = command.make_parser(context).parse_args(list(arguments))
        if any(values.get(name) for name in ("help", "version")):
            return
        for parameter in command.params:
            given = values.get(str(parameter.name))
            if isinstance(parameter.type, click.Path) or given is None or str(given).startswith("Sentinel"):
                assert given or not parameter.required, f"{parameter.name} is missing"
                continue
            parameter.type_cast_value(context, given)
        if not isinstance(command, click.Group):
            assert not rest, f"too many arguments: {rest}"
            return
        _, inner, arguments = command.resolve_command(context, rest)
        assert inner is not None
        command, context = inner, click.Context(inner, parent=context)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_documents_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for language, text in blocks(path):
        for line in command_lines(text) if language in SHELLS else ():
            program, arguments = Path(line[0]).name, line[1:]
            if program == "cxstream":
                check_command(arguments)
            elif program == "make":
                assert {word for word in arguments if "=" not in word} <= targets, line
            elif program == "python" and arguments and arguments[0].endswith(".py"):
                assert (ROOT / arguments[0]).is_file(), line


@pytest.mark.parametrize(
    "wrong",
    [
        "cxstream nope",
        "cxstream replay in.ndjson --out x --nope 1",
        "cxstream replay in.ndjson",
        "cxstream topics 4",
        "cxstream convert nope x",
        "cat x | cxstream worker --web-port many",
    ],
)
def test_command_that_is_none_is_noticed(wrong: str) -> None:
    line = list(command_lines(wrong))[-1]
    with pytest.raises((click.UsageError, AssertionError)):
        check_command(line[1:])


# --- links and code


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_modules_that_contributors_are_told_of_exist(name: str) -> None:
    paths = re.findall(r"(?<![\w/.-])[a-z_]+(?:/[a-z_]+)*/[a-z_]+\.py\b", (ROOT / name).read_text())
    assert paths
    package = ROOT / "src" / "cxstream"
    assert [each for each in paths if not (ROOT / each).exists() and not (package / each).exists()] == []


def test_architecture_names_every_package() -> None:
    named = {row[0] for row in table(ROOT / "ARCHITECTURE.md", "package", "contents")}
    packages = {path.parent.name for path in (ROOT / "src" / "cxstream").glob("*/__init__.py")}
    assert {f"`{name}`" for name in packages} <= named


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_in_documents_compiles(path: Path) -> None:
    for language, text in blocks(path):
        if language == "python":
            compile(text, str(path), "exec")


# --- words

# What the documentation does not say, and what it says instead.
PLAIN = {
    "anew": "again, new",
    "announced": "last notified level",
    "census": "score distribution",
    "disown(ed|s)?": "discard, mark stale",
    "held back": "suppressed by the cooldown",
    "let (us|me|you|it|them)? ?in": "authentication",
    "loose topics?": "unreferenced topics",
    "muted": "without output",
    "nobody foresaw": "unforeseen",
    "one on call": "engineer on call",
    "set aside": "suspended",
    "tenures?": "ownership session",
    "that which": "the thing by its name",
    "the law": "the invariant",
    "to be (erased|forgotten)": "erasure request",
    "warm cop(y|ies)": "standby replica",
    "whoever": "the reader by their role",
    "(he|him|his|himself)": "the customer, they",
}
# The alerts and the dashboards are read by people, too.
READ_BY_PEOPLE = [
    *DOCUMENTS,
    *sorted((ROOT / "tests").glob("*/README.md")),
    *sorted((ROOT / "deploy").rglob("*.yml")),
    *sorted((ROOT / "deploy").rglob("values.yaml")),
    ROOT / "docker-compose.yml",
    ROOT / "Makefile",
]
# Texts of the JSON Schemas stand in docstrings of these: they are public, and change with a version.
SCHEMA_TEXTS = {"model/events.py", "model/outputs.py", "wire/schema.py", "wire/asyncapi.py"}
PACKAGE = ROOT / "src" / "cxstream"
SOURCES = sorted({*PACKAGE.rglob("*.py")} - {PACKAGE / name for name in SCHEMA_TEXTS})
# Fields of score cards, which code names.
FIELDS = {"announced"}
# Since Python 3.12 an f-string is more than one token.
STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def unplain(text: str) -> list[tuple[int, str, str]]:
    """Line, words and replacement of what is not plain, code left out."""
    prose = re.sub(
        r"^```.*?^```$|`[^`]*`|\{\{.*?\}\}",
        lambda code: "\n" * code[0].count("\n"),
        text,
        flags=re.MULTILINE | re.DOTALL,
    )
    return [
        (prose.count("\n", 0, found.start()) + 1, found[0], instead)
        for words, instead in PLAIN.items()
        for found in re.finditer(rf"(?<![-\w]){words.replace(' ', chr(92) + 's+')}\b", prose, re.IGNORECASE)
    ]


@pytest.mark.parametrize("path", READ_BY_PEOPLE, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_are_plain(path: Path) -> None:
    assert unplain(path.read_text()) == []


def prose_of(source: str) -> str:
    """Comments, docstrings and messages of a module, each on its line; strings of a word are names."""
    lines = [""] * (source.count("\n") + 2)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or (token.type in STRINGS and " " in token.string):
            for place, line in enumerate(token.string.split("\n"), token.start[0]):
                lines[place] += f" {line}"
    return "\n".join(lines[1:])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_words_of_the_code_are_plain(path: Path) -> None:
    assert [each for each in unplain(prose_of(path.read_text())) if each[1] not in FIELDS] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""State is built\nanew."""\n', [(2, "anew")]),
        ("x = 1  # he\n", [(1, "he")]),
        ('raise Error(f"{n} of his: {m}")\n', [(1, "his")]),
        ('field = row["announced"]  # `anew`\nanew = muted\n', []),
    ],
)
def test_words_of_code_that_are_not_plain_are_found(source: str, found: list[tuple[int, str]]) -> None:
    assert [each[:2] for each in unplain(prose_of(source))] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a\n\nState is built\nanew, whoever asks.", [(4, "anew"), (4, "whoever")]),
        ("raises that are held\nback", [(1, "held\nback")]),
        ("```sh\nanew\n```\nHe and `his`", [(4, "He")]),
        ("announce, there, this, renewal, setting asides", []),
    ],
)
def test_words_that_are_not_plain_are_found(text: str, found: list[tuple[int, str]]) -> None:
    assert sorted(each[:2] for each in unplain(text)) == found


# --- scores


@pytest.fixture(scope="module")
def story() -> dict[str, Any]:
    """The signals of examples/story.ndjson, by id."""
    lines = STORY.read_bytes().splitlines()
    engine = Engine(ScoringParams(), Settings().actions)
    outcome = engine.process(Records(lines, range(len(lines))))
    assert outcome.accepted == len(lines)
    return {signal["id"]: signal for signal in (json.loads(each.value) for each in outcome.signals)}


def arithmetic() -> dict[str, float]:
    """Every line `name = expression = number` of the worked example, computed; fails where one does not hold."""
    known: dict[str, Any] = {"exp": math.exp, "ln": math.log, "sqrt": math.sqrt}
    functions = set(known)
    text = section(SCORING, "A worked example")
    for line in re.findall(r"^(\w+ = .*)$", text, re.MULTILINE):
        name, expression, shown = [*line.split(" = "), line.split(" = ")[-1]][:3]
        known[name] = eval(expression.replace("^", "**"), {"__builtins__": {}}, known)
        digits = len(shown.partition(".")[2])
        assert abs(known[name] - float(shown)) <= 0.5 * 10**-digits + 1e-12, f"{line}: it is {known[name]}"
    return {name: value for name, value in known.items() if name not in functions}


def test_worked_example_is_what_the_engine_says(story: Mapping[str, Any]) -> None:
    by_hand = arithmetic()
    friction = story["cx.touchpoints-0-2-0"]["data"]
    assert friction["effort_points"] == pytest.approx(by_hand["effort_points"], rel=1e-9)
    signal = story["cx.touchpoints-0-4-1"]["data"]
    assert (signal["change"], signal["level"], signal["previous"]) == ("raised", "critical", "elevated")
    for name in ("probability", "effort", "effort_halfwidth", "satisfaction", "satisfaction_halfwidth"):
        assert signal[name] == pytest.approx(by_hand[name], rel=1e-9), name
    reasons = [(reason["feature"], reason["contribution"]) for reason in signal["reasons"]]
    assert reasons == [
        (name, pytest.approx(by_hand[f"reason_{name}"], rel=1e-9))
        for name in ("unresolved", "effort", "dissatisfaction", "detractor")
    ]


def test_worked_example_ends_as_it_says(story: Mapping[str, Any]) -> None:
    ends = [
        (signal["time"][:10], signal["data"]["change"], signal["data"]["level"])
        for name, signal in story.items()
        if name in {"cx.touchpoints-0-6-1", "cx.touchpoints-0-7-0"}
    ]
    assert ends == [("2025-03-18", "eased", "high"), ("2025-03-29", "eased", "elevated")]
    assert list(story)[-1] == "cx.touchpoints-0-7-0"


def test_worked_example_tells_that_it_became_worse(story: Mapping[str, Any]) -> None:
    signal = story["cx.touchpoints-0-6-0"]
    data = signal["data"]
    assert (data["change"], data["level"], data["previous"]) == ("worsened", "critical", "critical")
    assert (signal["time"], round(data["probability"], 3)) == ("2025-03-14T00:00:00.000Z", 0.470)
    before = story["cx.touchpoints-0-4-1"]["data"]["probability"]
    assert data["probability"] >= before + ScoringParams().worsened


def test_points_of_the_worked_example() -> None:
    oracle = Oracle()
    expected: dict[int, tuple[float, float]] = {}
    events = [json.loads(line) for line in STORY.read_bytes().splitlines()]
    rows = table(SCORING, "offset", "time (UTC)", "event", "effort", "mood")
    for offset, (event, row) in enumerate(zip(events, rows, strict=True)):
        assert oracle.feed(event, offset) == "accepted"
        assert int(row[0]) == offset
        day, _, clock = row[1].split()
        assert event["time"].startswith(f"2025-03-{int(day):02}T{clock}")
        assert event["type"] == f"cx.touchpoint.{re.split('[ :]', row[2])[0]}.v1"
        pane = to_ms(event["time"]) // DAY_MS
        effort, mood = expected.get(pane, (0.0, 0.0))
        expected[pane] = effort + float(row[3]), mood + float(row[4])
    panes = oracle.customers["anna"].panes
    assert {pane: (each.effort, each.mood) for pane, each in panes.items()} == expected


def test_points_table_is_the_default() -> None:
    written = {
        kind: Points(effort=float(effort), mood=float(mood))
        for kinds, effort, mood in table(SCORING, "kind", "effort", "mood")
        for kind in kinds.split(", ")
    }
    assert written == ScoringParams().points
    assert len(written) == len(Kind)


def test_features_and_actions_tables_are_the_defaults() -> None:
    features = {name: float(b) for name, b, _ in table(SCORING, "feature", "b", "x")}
    assert features == ScoringParams().coefficients
    assert tuple(features) == FEATURES
    actions = {
        name: action
        for names, action in table(SCORING, "leading reason", "action")
        for name in names.split(", ")
    }
    assert actions == Settings().actions


@pytest.mark.parametrize("name", list(ScoringParams.model_fields))
def test_scoring_says_what_every_parameter_does(name: str) -> None:
    assert re.search(rf"\b{name}\b", SCORING.read_text())


def evidence(feature: str, contribution: float = 1.0, **columns: float) -> str:
    """Evidence as words has it for a row with these columns."""
    row = [0.0] * k.SIGNAL_WIDTH
    row[k.S_SPAN] = 7
    for name, value in columns.items():
        row[getattr(k, f"S_{name}")] = value
    return words.evidence(feature, row, "invoice", contribution)


TROUBLE = {
    "CONTACTS": 2,
    "TOPIC_N": 2,
    "WAITED": 660,
    "TRANSFERS": 1,
    "ABANDONED": 1,
    "UNRESOLVED": 2,
    "FAILED": 1,
    "LATE": 1,
}


@pytest.mark.parametrize(
    ("feature", "columns"),
    [
        ("effort", {**TROUBLE, "COMPLAINTS": 1, "CLOCK": 7 * DAY_MS, "COMPLAINT_TIME": DAY_MS}),
        ("effort", {"EFFORT": 35}),
        ("effort", {"contribution": -0.3, "EFFORT": 4}),
        ("surge", {"EFFORT_SHORT": 84, "EFFORT": 60}),
        ("dissatisfaction", {"SAT": 40, "ANSWERS": 1}),
        ("complaint", {"COMPLAINTS": 1, "CLOCK": 7 * DAY_MS, "COMPLAINT_TIME": DAY_MS}),
        ("complaint", {"COMPLAINTS": 2}),
        ("silence", {"QUIET": 9, "RHYTHM": 3.8}),
        ("lapse", {"BOUGHT": 4, "BOUGHT_SPAN": 63, "BOUGHT_AGE": 120}),
        ("lapse", {"BOUGHT": 1}),
        ("unsubscribed", {"UNSUBSCRIBED": 1}),
        ("slowdown", {"ACTIVE": 1, "USUAL": 5.6}),
        ("unresolved", {"UNRESOLVED": 2, "ABANDONED": 1}),
        ("unresolved", {}),
    ],
)
def test_evidence_texts_are_quoted_as_they_are(feature: str, columns: dict[str, float]) -> None:
    assert f"`{evidence(feature, **columns)}`" in SCORING.read_text()


# --- README and first pages


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 200


def test_each_replay_of_the_readme_has_a_folder_of_its_own() -> None:
    """Results that are there are replaced only with --force: the commands would fail if they were run one after the other."""
    folders = re.findall(r"^cxstream replay .*--out (\S+)", README.read_text(), re.MULTILINE)
    assert len(folders) > 2
    assert len(set(folders)) == len(folders)


def test_path_from_training_to_evaluation_is_that_of_the_docs() -> None:
    """A test of the training runs the commands of the docs; the other one needs Kafka."""
    [run] = [text for _, text in blocks(ROOT / "docs" / "training.md") if "cxstream evaluate" in text]
    [shown] = [text for _, text in blocks(README) if "cxstream evaluate" in text]
    lines = [line for line in shown.splitlines() if line != "cxstream rules apply rules.toml"]
    assert lines == [line for line in run.splitlines() if "cxstream simulate" not in line]


def test_picture_in_the_readme_is_what_the_demo_shows() -> None:
    import screen

    assert screen.PICTURE.read_text() == screen.picture(), f"run: {screen.COMMAND}"


def test_picture_loads_nothing() -> None:
    import screen

    addresses = re.findall(r"url\([^)]*\)|href=\S+|@import", screen.PICTURE.read_text())
    assert {address for address in addresses if not address.startswith("url(#")} == set()


def alike(one: Any, other: Any) -> bool:
    """Equal, floats to 1e-9."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return type(one) is type(other) and bool(one == other)


def test_signal_that_is_shown_is_real(story: Mapping[str, Any]) -> None:
    shown = next(json.loads(text) for language, text in blocks(CRM) if language == "json")
    real = json.loads(json.dumps(story[shown["id"]]))
    # A new parameter changes the digest of the rules.
    name, digest = shown["data"].pop("model").split("@")
    assert (name, len(digest)) == (ScoringParams().name, 8)
    assert real["data"].pop("model").startswith(f"{name}@")
    assert alike(shown, real)


def test_summary_that_is_shown_is_real(tmp_path: Path) -> None:
    result = CliRunner().invoke(group, ["replay", str(STORY), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0
    # Columns are as wide as the rate needs.
    shown = {" ".join(line.split()) for line in FIRST_STEPS.read_text().split("\n")}
    lines = [" ".join(line.split()) for line in result.output.split("\n")]
    counts = [line for line in lines if re.search(r" \d+$", line) and not line.startswith("records/s")]
    assert len(counts) > 10
    assert [line for line in counts if line not in shown] == []


# --- kinds


def kind_sections() -> str:
    """The part of docs/events.md about the kinds."""
    return "\n\n".join(
        f"### {kind.label}\n\n{fill(kind.spec.description, 120, break_on_hyphens=False)}\n\n"
        f"```json\n{json.dumps(kind.spec.example, ensure_ascii=False)}\n```"
        for kind in Kind
    )


def test_kinds_are_described_as_in_the_code() -> None:
    written = EVENTS.read_text().split(BEGIN)[1].split(END)[0].strip()
    assert written == kind_sections(), "run: python tests/test_docs.py --write"


# --- views


def view_sections() -> str:
    """The part of docs/views.md about each view: the headers of its SQL, one heading deeper."""
    sections = []
    for name in definition.names():
        view = definition.view(name)
        title, _, rest = view.header.partition("\n")
        header = f"#{title}\n\n" + re.sub(r"^#", "##", rest, flags=re.MULTILINE)
        behind = f"- {', '.join(f'`{measure}`' for measure in view.behind)}"
        header = re.sub(
            r"(?<=^### Behind\n\n)(?:- .*\n?)+",
            f"{behind}\n",
            header.replace("### Behind\n", "### Behind\n\n"),
            flags=re.MULTILINE,
        )
        for part in ("Columns", "Caveats", "Options", "Keys"):
            header = header.replace(f"### {part}\n", f"### {part}\n\n")
        sections.append(re.sub(r"^### (\w+)$", r"**\1**", header, flags=re.MULTILINE).strip())
    return "\n\n".join(sections)


def test_views_are_described_as_in_their_sql() -> None:
    written = VIEWS.read_text().split(BEGIN)[1].split(END)[0].strip()
    assert written == view_sections(), "run: python tests/test_docs.py --write"


def scored_columns() -> str:
    rows = [f"| `{column.name}` | {column.type} | {column.holds} |" for column in COLUMNS]
    return "\n".join(["| column | type | contents |", "|---|---|---|", *rows])


def test_columns_of_scored_touchpoints_are_described_as_in_the_code() -> None:
    written = SCORED.read_text().split(BEGIN)[1].split(END)[0].strip()
    assert written == scored_columns(), "run: python tests/test_docs.py --write"


def write(path: Path, tables: str) -> None:
    """Put the generated part of a document in its place."""
    before, after = path.read_text().split(BEGIN)[0], path.read_text().split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit("usage: python tests/test_docs.py --write")
    write(SETTINGS, generated())
    write(METRICS_DOCUMENT, metric_tables())
    write(EVENTS, kind_sections())
    write(VIEWS, view_sections())

    write(SCORED, scored_columns())
