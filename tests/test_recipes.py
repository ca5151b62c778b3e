"""The recipes of CONTRIBUTING.md are true: followed in a copy of the sources, they work, and touch no other file.

The programs that try a copy call no kernel that takes long to compile: the rules stay, and read tables that follow
from the records.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import cxstream
from cxstream.model.features import SPECS
from cxstream.model.kinds import Kind

SOURCES = Path(cxstream.__file__).parent
CONTRIBUTING = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
SECONDS = 120


class Copy:
    """A copy of the sources to follow a recipe in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cxstream"
        # With the bytecode and machine code of what a recipe does not change.
        shutil.copytree(SOURCES, self.folder, copy_function=_copied)

    def edit(self, file: str, *changes: tuple[str, str]) -> None:
        """Replace text, which must be there once."""
        path = self.folder / file
        text = path.read_text()
        for before, after in changes:
            assert text.count(before) == 1, f"{file} has {before!r} {text.count(before)} times"
            text = text.replace(before, after)
        path.write_text(text)

    def run(self, program: str, **environment: str) -> str:
        """What a program says that imports this copy."""
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(self.folder.parent), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def touched(self) -> set[str]:
        """Files that differ from the sources."""
        files = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.py")}
        return {
            file
            for file in files
            if not (SOURCES / file).exists()
            or not filecmp.cmp(self.folder / file, SOURCES / file, shallow=False)
        }


def _copied(source: str, target: str) -> None:
    # Another process may replace machine code meanwhile.
    with suppress(FileNotFoundError):
        shutil.copy2(source, target)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def recipe(title: str) -> set[str]:
    """The files in `src/cxstream/` that a recipe names."""
    found = re.search(rf"^### {re.escape(title)}\n(.*?)(?=^##)", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    assert found is not None, f"CONTRIBUTING.md has no recipe {title!r}"
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", found[1])
    return {file for file in named if (SOURCES / file).exists()}


KIND = """
    recipe_tried = (
        NUMBER,
        KindSpec(
            "The customer claimed a warranty. Needs `case_id`.",
            points=(3, -2),
            data=WarrantyData,
            fills="case",
            outcome=True,
            example={"channel": "web", "case_id": "w-1", "serial": "A-7"},
        ),
    )

    @property
    def label(self)"""
DATA = """class ActionData(Data, kw_only=True, gc=False):"""
WARRANTY = f'''class WarrantyData(Data, kw_only=True, gc=False):
    """A warranty is claimed for a device.

    Attributes:
        serial: Serial number of the device.
    """

    case_id: NonEmpty
    serial: NonEmpty


{DATA}'''


def test_a_kind(copy: Copy) -> None:
    copy.edit(
        "model/kinds.py",
        ("\n    @property\n    def label(self)", KIND.replace("NUMBER", str(len(Kind)))),
        ("    ReviewData,\n", "    ReviewData,\n    WarrantyData,\n"),
    )
    copy.edit("model/fields.py", (DATA, WARRANTY))
    # The recipe changes no kernel, but numbers that all of them have: plain Python reads two records sooner than they compile.
    said = copy.run(
        """
import json
from cxstream.model.features import SPECS
from cxstream.model.kinds import Kind
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.codec.decode import decode
from cxstream.scoring.state.constants import constants
from cxstream.wire import asyncapi, schema
from cxstream.wire.examples import example
kind = Kind.recipe_tried
event = example(kind)
found = decode([json.dumps(event).encode(), json.dumps({**event, "data": {"channel": "web", "case_id": "w"}}).encode()])
[column] = found.columns
print(int(column["kind"]) == kind, int(column["case"]) != 0, [(each.reason, each.field) for each in found.rejected])
print(constants(ScoringParams()).effort[kind], constants(ScoringParams()).mood[kind])
data = schema.documents()["touchpoints/recipe_tried.v1.json"]["properties"]["data"]
print("serial" in data["required"], data["properties"]["serial"]["description"])
print("recipe_tried" in asyncapi.document()["channels"]["touchpoints"]["messages"])
""",
        NUMBA_DISABLE_JIT="1",
    )
    assert said.splitlines() == [
        "True True [('invalid', 'data.serial')]",
        "3.0 -2.0",
        "True Serial number of the device.",
        "True",
    ]
    assert len(copy.touched()) <= 3
    assert copy.touched() <= recipe("A kind of touchpoint")


def test_a_feature(copy: Copy) -> None:
    last = f'"unresolved": FeatureSpec({SPECS["unresolved"].coefficient}, "call_back_with_owner"),\n'
    copy.edit(
        "model/features.py",
        ('"just_unsubscribed", "unresolved",\n', '"just_unsubscribed", "unresolved", "recipe_tried",\n'),
        (
            last,
            f'{last}    "recipe_tried": FeatureSpec(0.5, "try_again", typical=0.25),\n',
        ),
    )
    copy.edit("kernels/layout.py", ("X_UNRESOLVED) = range", "X_UNRESOLVED, X_RECIPE) = range"))
    copy.edit(
        "kernels/evaluate.py",
        ("    X_LAPSE,\n", "    X_LAPSE,\n    X_RECIPE,\n"),
        (
            "    score = c.intercept\n",
            "    values[S_X + X_RECIPE] = min(float(row.contacts_n), 4.0) / 4.0\n    score = c.intercept\n",
        ),
    )
    copy.edit(
        "scoring/words.py",
        (
            "class _Words(NamedTuple)",
            """def _recipe_value(x: float, _card: Card, _params: ScoringParams) -> str:
    return f"{count(4 * x, 'recipe')} tried, at most 4 count"


class _Words(NamedTuple)""",
        ),
        (
            "        _unresolved_value,\n    ),\n",
            """        _unresolved_value,
    ),
    "recipe_tried": _Words(["a recipe was tried ", _n(k.S_CONTACTS, "time")], _recipe_value),
""",
        ),
    )
    said = copy.run("""
import math
import numpy as np
from cxstream.kernels import layout as k
from cxstream.kernels.evaluate import score_cards
from cxstream.kernels.panes import AHEAD
from cxstream.model.parameters import ScoringParams
from cxstream.model.rules import rules_of
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.signals import Signals, Writer
from cxstream.scoring.state.constants import constants
from cxstream.scoring.state.partition import PartitionState
from cxstream.scoring.words import value
from cxstream.settings import ACTIONS, Settings
from cxstream.wire import schema
from cxstream.worker.metrics.definitions import METRICS
params = ScoringParams()
state = PartitionState(params).state
state.rows["head"], state.rows["nps_time"], state.rows["unsubscribed_day"] = k.NONE, k.NEVER, k.NO_DAY
state.rows["contacts_n"][1] = 3
cards = np.zeros((2, k.CARD_WIDTH))
without = params.model_copy(update={"coefficients": {**params.coefficients, "recipe_tried": 0.0}})
for scored in (params, without):
    scratch = np.zeros(k.SIGNAL_WIDTH), np.zeros(AHEAD, np.int64)
    score_cards(state, constants(scored), np.arange(2, dtype=np.int32), cards, *scratch)
    known = scored.intercept + 0.3 * scored.coefficients["dissatisfaction"]
    odds = [abs(round(math.log(p / (1 - p)) - known, 3)) for p in cards[:, k.C_P]]
    print(cards[:, k.C_X + k.X_RECIPE].tolist(), *odds)
typical = Settings().scoring.typical["recipe_tried"]
print(value("recipe_tried", 0.75, {}, params), "|", ACTIONS["recipe_tried"], typical)
row = np.zeros(k.SIGNAL_WIDTH)
row[k.S_WHAT], row[k.S_LEVEL], row[k.S_X + k.X_RECIPE], row[k.S_CONTACTS] = k.RAISED, 1, 1.0, 3
none = np.zeros(1, np.int64)
told = Signals(
    np.array([row]), Packed.of([b"anna"]), [""], np.array([7]), none, none, np.array([np.nan]), none, [].__getitem__
)
[signal] = Writer(rules_of(params, ACTIONS), "cx.touchpoints", 0).signals(told)
print(signal.reason, b"a recipe was tried 3 times" in signal.value, b"try_again" in signal.value)
print("recipe_tried" in str(schema.documents()["signals/churn_risk.v1.json"]))
print(METRICS["cxstream_raise_reasons_total"].labels["reason"][-1])
""")
    assert said.splitlines() == [
        "[0.0, 0.75] 0.0 0.375",
        "[0.0, 0.75] 0.0 0.0",
        "3 recipes tried, at most 4 count | try_again 0.25",
        "recipe_tried True True",
        "True",
        "recipe_tried",
    ]
    assert len(copy.touched()) <= 4
    assert copy.touched() <= recipe("A feature of the churn risk")


OUTPUT = """
CRITICAL = Output(
    "cx.recipe",
    "customers at critical risk, for the retention desk",
    "recipe",
    "Customer at critical risk",
    "signals/recipe.v1.json",
    (("", CriticalSignal),),
    "recipe.ndjson",
    keep_days=30,
    readers=frozenset({"crm"}),
)
OUTPUTS = ("""
CRITICAL = '''class CriticalSignal(_Envelope, frozen=True, kw_only=True, gc=False, tag="cx.signal.recipe.v1"):
    """A signal about a customer at critical risk: for the retention desk."""

    data: ChurnRisk


class Score(_Envelope'''


def test_an_output_topic(copy: Copy) -> None:
    copy.edit(
        "model/outputs.py",
        ("class Score(_Envelope", CRITICAL),
        ("\nOUTPUTS = (", OUTPUT),
        ("FORGOTTEN)\n", "FORGOTTEN, CRITICAL)\n"),
    )
    copy.edit(
        "scoring/signals.py",
        (
            "        _Document(o.CHURN_RISK.topic, form_of(o.ChurnRiskSignal(**envelope, data=risk)), tells=True),\n",
            """        _Document(o.CHURN_RISK.topic, form_of(o.ChurnRiskSignal(**envelope, data=risk)), tells=True),
        _Document(o.CRITICAL.topic, form_of(o.CriticalSignal(**envelope, data=risk)), tells=True),
""",
        ),
        ("_CHURN_RISK = range(3)\n", "_CHURN_RISK, _CRITICAL = range(4)\n"),
        (
            "    return sorts\n",
            """    sorts[(sorts == _CHURN_RISK) & (rows[:, k.S_LEVEL] == LEVELS.index("critical"))] = _CRITICAL
    return sorts
""",
        ),
    )
    said = copy.run("""
import numpy as np
from cxstream.kernels import layout as k
from cxstream.kafka.acls import CRM, WORKER
from cxstream.model.enumerations import LEVELS
from cxstream.model.parameters import ScoringParams
from cxstream.model.rules import rules_of
from cxstream.replay.results import FILES
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.signals import Signals, Writer
from cxstream.topology import TOPICS, topology
from cxstream.wire import asyncapi, schema
row = np.zeros(k.SIGNAL_WIDTH)
row[k.S_WHAT], row[k.S_LEVEL] = k.RAISED, LEVELS.index("critical")
none = np.zeros(1, np.int64)
told = Signals(
    np.array([row]), Packed.of([b"anna"]), [""], np.array([7]), none, none, np.array([np.nan]), none, [].__getitem__
)
[signal] = Writer(rules_of(ScoringParams(), {}), "cx.touchpoints", 0).signals(told)
[topic] = [topic for topic in TOPICS if topic.name == "cx.recipe"]
print(signal.topic, FILES[signal.topic], topology("eu.").named(topic).name)
print(topic in CRM.reads, topic in WORKER.writes, topic.config["cleanup.policy"])
print("signals/recipe.v1.json" in schema.documents(), "send-recipe" in asyncapi.document()["operations"])
""")
    assert said.splitlines() == [
        "cx.recipe recipe.ndjson eu.cx.recipe",
        "True True delete",
        "True True",
    ]
    assert len(copy.touched()) <= 2
    assert copy.touched() <= recipe("An output topic")


def test_a_field(copy: Copy) -> None:
    copy.edit(
        "model/fields.py",
        ("        segment: Segment of the customer.\n", "        segment: Segment of the customer.\n        serial: Serial number of a device.\n"),
        ("    segment: Text | None = None\n", "    segment: Text | None = None\n    serial: Text | None = None\n"),
    )  # fmt: skip
    said = copy.run("""
from cxstream.wire import schema
print(schema.documents()["touchpoints/contact.v1.json"]["properties"]["data"]["properties"]["serial"]["description"])
""")
    assert said == "Serial number of a device.\n"
    assert copy.touched() <= recipe("A field of touchpoints")


@pytest.mark.parametrize(
    "title",
    [
        "A kind of touchpoint",
        "A field of touchpoints",
        "A feature of the churn risk",
        "An output topic",
        "A control record",
        "An inlet",
        "A command",
        "A check of `doctor`",
        "A source format",
    ],
)
def test_recipes_name_files_that_exist(title: str) -> None:
    assert recipe(title)
    text = CONTRIBUTING.partition(f"### {title}\n")[2].partition("\n##")[0]
    for file in re.findall(r"`((?:\w+/)+\w+\.(?:py|md))`", text):
        root = SOURCES.parent.parent
        assert (SOURCES / file).exists() or (root / file).exists(), file
