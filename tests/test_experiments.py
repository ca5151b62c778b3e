"""Experiments in the rules: who is treated and who is held out."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cxstream.cli import group
from cxstream.model.experiments import Experiment, arm_of, position
from cxstream.model.parameters import ScoringParams
from cxstream.model.rules import read_rules, rules_of
from cxstream.rules.difference import changes
from cxstream.rules.file import read_file
from cxstream.rules.show import as_toml
from cxstream.settings import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).parents[1] / "docs" / "experiments.md"
RETENTION = '[scoring.experiments.retention]\nholdout = 0.2\nlevels = ["high", "critical"]\n'


def rules_with(**experiments: dict[str, Any]) -> Any:
    return rules_of(ScoringParams.model_validate({"experiments": experiments}), ACTIONS)


def in_the_docs() -> Callable[[str, str, float], str]:
    """The function that docs/experiments.md gives to programs."""
    [code] = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # our own docs
    found: Callable[[str, str, float], str] = names["arm"]
    return found


def test_the_hash_is_the_one_that_openssl_computes() -> None:
    # printf c-000087 | openssl dgst -sha256 -hmac retention
    assert position("retention", "c-000087") == 0x33CF9E8452D69 / 2**52
    assert arm_of("retention", Experiment(holdout=0.2), "c-000087") == "treated"
    assert arm_of("retention", Experiment(holdout=0.25), "c-000087") == "holdout"


@given(st.text(max_size=20), st.text(max_size=20), st.floats(1e-6, 0.9))
def test_the_function_of_the_docs_gives_the_same_arm(salt: str, customer: str, share: float) -> None:
    experiment = Experiment(holdout=share, salt=salt)
    assert arm_of("calls", experiment, customer) == in_the_docs()(salt or "calls", customer, share)


@given(st.text(min_size=1, max_size=20), st.text(max_size=20), st.floats(1e-6, 0.45))
def test_a_larger_share_only_adds_to_the_holdout(salt: str, customer: str, share: float) -> None:
    small, large = (arm_of("x", Experiment(holdout=each, salt=salt), customer) for each in (share, 2 * share))
    assert small == "treated" or large == "holdout"


def test_shares_are_kept_and_salts_draw_independently() -> None:
    n, share = 20_000, 0.3
    first, second = (
        [arm_of("x", Experiment(holdout=share, salt=salt), f"c-{i}") == "holdout" for i in range(n)]
        for salt in ("one", "two")
    )
    both = sum(a and b for a, b in zip(first, second, strict=True))
    for count, wanted in ((sum(first), share), (sum(second), share), (both, share**2)):
        assert abs(count - n * wanted) < 4 * (n * wanted * (1 - wanted)) ** 0.5


def test_rules_without_experiments_keep_their_digest() -> None:
    plain = rules_of(ScoringParams(), ACTIONS)
    assert b"experiments" not in plain.data
    assert rules_with().label == plain.label
    assert read_rules(b'{"scoring": {"experiments": null}}').params.experiments is None


def test_a_set_with_experiments_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(RETENTION)
    rules = read_file(path)
    assert rules.params.experiments == {"retention": Experiment(holdout=0.2, levels=("high", "critical"))}
    assert read_rules(rules.data).label == rules.label
    path.write_text(as_toml(rules))
    assert read_file(path).label == rules.label
    [change] = changes(rules_of(ScoringParams(), ACTIONS), rules)
    assert change.parameter == "scoring.experiments.retention"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[scoring.experiments.a]\nholdot = 0.2", ":2: scoring.experiments.a.holdot: no such parameter; did you mean holdout?"),
        ("[scoring.experiments.a]\nholdout = 2", ":2: scoring.experiments.a.holdout: Input should be less than or equal to 0.9"),
        ("[scoring.experiments.a]\nholdout = 0", ":2: scoring.experiments.a.holdout: Input should be greater than"),
        ("[scoring.experiments.a]\nholdout = 0.2\nlevels = []", ":3: scoring.experiments.a.levels: "),
        (
            '[scoring.experiments.a]\nholdout = 0.2\nlevels = ["high", "high"]',
            ":3: scoring.experiments.a.levels: high is named twice",
        ),
        ('[scoring.experiments.a]\nholdout = 0.2\nlevels = ["none"]', ":3: scoring.experiments.a.levels.0: Input should be"),
        ("[scoring.experiments.Big]\nholdout = 0.2", ":1: scoring.experiments.Big: String should match"),
        (
            '[scoring.experiments.a]\nholdout = 0.2\n[scoring.experiments.b]\nholdout = 0.2\nlevels = ["high"]',
            ":3: scoring.experiments.b: applies to level high, and so does a; a signal has one arm",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_experiment_is_named_with_its_line(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    result = CliRunner().invoke(group, ["rules", "check", str(path)])
    assert result.exit_code != 0
    assert said in f"{result.exception} {result.output}"


# --- the command


def assigned(tmp_path: Path, *args: str, stdin: str | bytes = "") -> Any:
    (tmp_path / "rules.toml").write_text(RETENTION)
    return CliRunner().invoke(group, ["assign", *args, "--rules", str(tmp_path / "rules.toml")], input=stdin)


CUSTOMERS = ["c-000087", "żółw, duży", "c-2", "c-3", "c-4", "c-5"]


def expected(customer: str) -> str:
    digest = hmac.new(b"retention", customer.encode(), hashlib.sha256).hexdigest()
    return "holdout" if int(digest[:13], 16) / 2**52 < 0.2 else "treated"


@pytest.mark.parametrize("where", ["arguments", "file", "stdin"])
def test_assign_says_the_arms(tmp_path: Path, where: str) -> None:
    listed = "\ufeff" + "\r\n".join(["", *CUSTOMERS, ""])
    (tmp_path / "customers.txt").write_bytes(listed.encode())
    given_ = {
        "arguments": CUSTOMERS,
        "file": ["--file", str(tmp_path / "customers.txt")],
        "stdin": ["--file", "-"],
    }[where]
    arms = [expected(customer) for customer in CUSTOMERS]
    result = assigned(tmp_path, "retention", *given_, "--format", "csv", stdin=listed.encode())
    assert result.exit_code == 0, result.output
    head, *rows = csv.reader(io.StringIO(result.output))
    assert head == ["customer", "experiment", "arm"]
    assert rows == [[c, "retention", arm] for c, arm in zip(CUSTOMERS, arms, strict=True)]
    result = assigned(tmp_path, "retention", *given_, "--format", "ndjson", stdin=listed.encode())
    found = [json.loads(line) for line in result.output.splitlines()]
    assert [(each["customer"], each["arm"]) for each in found] == list(zip(CUSTOMERS, arms, strict=True))
    result = assigned(tmp_path, "retention", *given_, stdin=listed.encode())
    assert f"{arms.count('treated')} treated, {arms.count('holdout')} held out of 6" in result.output


@pytest.mark.parametrize(
    ("args", "stdin", "said"),
    [
        (["other", "c-1"], "", "have no experiment 'other'; there are retention"),
        (["retention"], "", "name customers, or a file of them"),
        (["retention", "c-1", "--file", "-"], "", "one of the two"),
        (["retention", "--file", "/nowhere/at-all"], "", "cannot be read"),
        (["retention", "--file", "-"], b"ok\n\xff\n", "standard input:2: not UTF-8"),
        (["retention", "--file", "-", "--format", "csv"], "x" * 129, "standard input:1: 129 characters"),
    ],
)
def test_assign_says_what_is_wrong(tmp_path: Path, args: list[str], stdin: str | bytes, said: str) -> None:
    result = assigned(tmp_path, *args, stdin=stdin)
    assert result.exit_code != 0
    assert said in f"{result.exception} {result.output}"
