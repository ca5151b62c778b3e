"""Exit status of every command, as docs/commands.md promises it: 0 done, 1 not done, 2 wrong command line,
3 done in part.

What needs a Kafka that answers is in the tests of the commands; here nothing answers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click
import pytest

from cxstream.cli import COMMANDS, group, main
from cxstream.cli.options import Number
from cxstream.local.ports import HOST, free
from cxstream.settings import Warehouse
from cxstream.warehouse.store import Store
from test_docs import COMMAND_LIST, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORY = ROOT / "examples" / "story.ndjson"
SHOP = ROOT / "examples" / "cdnow"
DONE, NOT_DONE, WRONG, PARTLY = 0, 1, 2, 3

CASES: dict[str, dict[str, int]] = {
    "replay": {
        f"replay {STORY} --out {{tmp}}/result": DONE,
        # Records of which some cannot be used.
        "replay {tmp}/partly.ndjson --out {tmp}/result": DONE,
        "replay {tmp}/empty.ndjson --out {tmp}/result": DONE,
        "replay {tmp}/bad.csv --out {tmp}/result": NOT_DONE,
        f"replay {STORY} {{tmp}}/bad.csv --out {{tmp}}/result": NOT_DONE,
        f"replay {STORY} --out {{tmp}}/used": NOT_DONE,
        "replay {tmp}/missing.ndjson --out {tmp}/result": NOT_DONE,
        f"replay {STORY} --out {{tmp}}/result --warehouse {{tmp}}/bad.csv": NOT_DONE,
        f"replay {STORY}": WRONG,
    },
    "convert": {
        f"convert mapping {SHOP}/purchases.csv --mapping {SHOP}/mapping.toml --out {{tmp}}/out": DONE,
        # Rows of which some cannot be converted.
        f"convert mapping {{tmp}}/partly.csv --mapping {SHOP}/mapping.toml --out {{tmp}}/out": PARTLY,
        f"convert mapping {{tmp}}/partly.csv --mapping {SHOP}/mapping.toml --out {{tmp}}/out --allow-errors": DONE,
        f"convert mapping {{tmp}}/bad.csv --mapping {SHOP}/mapping.toml --out {{tmp}}/out": NOT_DONE,
        f"convert mapping {SHOP}/purchases.csv --mapping {{tmp}}/bad.csv --out {{tmp}}/out": NOT_DONE,
        f"convert mapping {SHOP}/purchases.csv --out {{tmp}}/out": WRONG,
    },
    "simulate": {
        "simulate --customers 3 --days 1 --out {tmp}/out.ndjson": DONE,
        "simulate --for 1 --kafka {nobody}": NOT_DONE,
        "simulate --customers none": WRONG,
    },
    "demo": {"demo --for never": WRONG},
    "broker": {"broker --data {tmp}": NOT_DONE, "broker --port none": WRONG},
    "topics": {"topics --kafka {nobody}": NOT_DONE, "topics --partitions none": WRONG},
    "validate": {
        f"validate {STORY}": DONE,
        "validate {tmp}/empty.ndjson": DONE,
        "validate {tmp}/partly.ndjson": NOT_DONE,
        f"validate {STORY} {{tmp}}/bad.csv": NOT_DONE,
        "validate {tmp}/missing.ndjson": NOT_DONE,
        f"validate {STORY} --limit none": WRONG,
        "validate": WRONG,
    },
    "produce": {f"produce {STORY} --kafka {{nobody}}": NOT_DONE, "produce": WRONG},
    "change": {
        "change release --out {tmp}/changes.ndjson": DONE,
        "change release --kafka {nobody}": NOT_DONE,
        "change release --out {tmp}/no/changes.ndjson": NOT_DONE,
        "change release --channel telex": WRONG,
        "change": WRONG,
    },
    "forget": {"forget anna --kafka {nobody}": NOT_DONE, "forget": WRONG},
    "worker": {"worker --kafka {nobody}": NOT_DONE, "worker --web-port none": WRONG},
    "rejected": {
        "rejected list --kafka {nobody}": NOT_DONE,
        "rejected show 0-1 --kafka {nobody}": NOT_DONE,
        "rejected resend --everything --kafka {nobody}": NOT_DONE,
        "rejected show nowhere": NOT_DONE,
        "rejected list --limit none": WRONG,
        "rejected": WRONG,
    },
    "rules": {
        "rules check {tmp}/rules.toml": DONE,
        "rules check {tmp}/bad.csv": NOT_DONE,
        "rules check {tmp}/missing.toml": NOT_DONE,
        "rules show --kafka {nobody}": NOT_DONE,
        "rules diff {tmp}/rules.toml --kafka {nobody}": NOT_DONE,
        "rules apply {tmp}/rules.toml --yes --kafka {nobody}": NOT_DONE,
        "rules apply": WRONG,
        "rules": WRONG,
    },
    "customer": {"customer anna --kafka {nobody}": NOT_DONE, "customer": WRONG},
    "warehouse": {
        "warehouse verify --warehouse {tmp}/w --against {tmp}/w": DONE,
        "warehouse compact --warehouse {tmp}/w": DONE,
        "warehouse export --warehouse {tmp}/w --out {tmp}/parquet": DONE,
        "warehouse export --warehouse {tmp}/missing --out {tmp}/parquet": NOT_DONE,
        "warehouse verify --warehouse {tmp}/w --against {tmp}/bad.csv": NOT_DONE,
        "warehouse compact --warehouse {tmp}/missing": NOT_DONE,
        "warehouse follow --warehouse {tmp}/new --kafka {nobody}": NOT_DONE,
        "warehouse verify --warehouse {tmp}/w --kafka {nobody}": NOT_DONE,
        "warehouse rebuild --warehouse {tmp}/w --kafka {nobody}": NOT_DONE,
        "warehouse export": WRONG,
        "warehouse": WRONG,
    },
    "view": {
        "view touchpoints --warehouse {tmp}/w": DONE,
        "view touchpoints --warehouse {tmp}/missing": NOT_DONE,
        "view touchpoints --grain never": WRONG,
        "view": WRONG,
    },
    "train": {
        f"train purchases {SHOP}/customers.csv --out {{tmp}}/models.toml": DONE,
        "train purchases {tmp}/bad.csv --out {tmp}/rules.toml": NOT_DONE,
        "train purchases {tmp}/missing.ndjson --out {tmp}/rules.toml": NOT_DONE,
        f"train purchases {STORY}": WRONG,
        f"train foretell {SHOP}/customers.csv --values bg_nbd=0.243,4.414,0.793,2.426": DONE,
        f"train foretell {SHOP}/customers.csv": NOT_DONE,
        "train foretell": WRONG,
    },
    "sentiment": {
        "sentiment {tmp}/partly.csv": DONE,
        "sentiment {tmp}/missing.txt": NOT_DONE,
        "sentiment --language none": WRONG,
    },
    "insights": {
        "insights --warehouse {tmp}/w": DONE,
        "insights --warehouse {tmp}/missing": NOT_DONE,
        "insights --measure none": WRONG,
    },
    "serve": {
        "serve --warehouse {tmp}/w --host 0.0.0.0 --port 0": NOT_DONE,
        "serve --port none": WRONG,
    },
    "sink": {
        "sink": NOT_DONE,
        "sink postgresql://me@127.0.0.1:1/db": NOT_DONE,
        "sink mysql://db": NOT_DONE,
        "sink follow postgresql://me@127.0.0.1:1/db": NOT_DONE,
        "sink verify": NOT_DONE,
        "sink verify postgresql://me@127.0.0.1:1/db --kafka {nobody}": NOT_DONE,
        "sink verify --until-end": WRONG,
        "sink --embedded postgresql://db": WRONG,
        "sink --nope": WRONG,
    },
    "plan": {
        "plan --rate 3000 --customers 1000000": DONE,
        "plan --rate 3000": WRONG,
        "plan --rate 0 --customers 1": WRONG,
    },
    "doctor": {"doctor --kafka {nobody}": NOT_DONE, "doctor --nope": WRONG},
    "assign": {
        "assign retention c-1 --rules {tmp}/experiments.toml": DONE,
        "assign retention c-1": NOT_DONE,
        "assign retention --rules {tmp}/experiments.toml": WRONG,
    },
    "evaluate": {
        "evaluate {tmp}/w": DONE,
        "evaluate {tmp}/w --plan": NOT_DONE,
        "evaluate {tmp}/missing.duckdb": NOT_DONE,
        "evaluate {tmp}/w --change release": WRONG,
    },
    "keys": {
        "keys init {tmp}/control.key": DONE,
        "keys init {tmp}/bad.csv": NOT_DONE,
        "keys": WRONG,
    },
    "clients": {
        "--config {tmp}/console.toml clients list": DONE,
        "--config {tmp}/console.toml clients create bi": DONE,
        "--config {tmp}/console.toml clients revoke bi": NOT_DONE,
        "clients list": NOT_DONE,
        "clients": WRONG,
    },
    "schemas": {
        f"schemas --check {ROOT}/schemas": DONE,
        "schemas --out {tmp}/schemas": DONE,
        "schemas --check {tmp}": NOT_DONE,
        "schemas": WRONG,
    },
}
LINES = [(line, status) for lines in CASES.values() for line, status in lines.items()]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with inputs of which a part, or nothing, can be used."""
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "signals.ndjson").write_text("")
    (tmp_path / "partly.ndjson").write_text(STORY.read_text() + '{"specversion": "1.0"}\n')
    (tmp_path / "empty.ndjson").write_text("")
    (tmp_path / "rules.toml").write_text("[scoring]\nhalf_life_days = 7\n")
    header, row, *_ = (SHOP / "purchases.csv").read_text().splitlines()
    bad = re.sub(r"\d", "x", row)
    (tmp_path / "partly.csv").write_text(f"{header}\n{row}\n{bad}\n")
    (tmp_path / "bad.csv").write_text(f"{header}\n{bad}\n")
    (tmp_path / "console.toml").write_text(f"[console]\nusers_file = '{tmp_path}/people.toml'\n")
    (tmp_path / "experiments.toml").write_text("[scoring.experiments.retention]\nholdout = 0.2\n")
    with Store(tmp_path / "w", Warehouse(memory_mib=512, threads=1)):
        pass
    return tmp_path


def test_every_command_has_its_cases() -> None:
    assert CASES.keys() == COMMANDS.keys()
    for name, lines in CASES.items():
        assert WRONG in lines.values(), name


@pytest.mark.parametrize(("line", "status"), LINES)
def test_exit_status(line: str, status: int, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = line.format(tmp=files, nobody=f"{HOST}:{free(1)[0]}").split()
    with pytest.raises(SystemExit) as ended:
        main(words)
    told = capsys.readouterr()
    assert ended.value.code == status, told.err
    if status == NOT_DONE:
        assert told.err or told.out
        assert "Traceback" not in told.err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_no_failure(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == DONE
    assert "Example:" in capsys.readouterr().out


def test_the_list_of_commands_says_what_each_status_means() -> None:
    said = " ".join(COMMAND_LIST.read_text().split())
    for status in (DONE, NOT_DONE, WRONG, PARTLY, "130, 143"):
        assert f"| {status} |" in said


def _all(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _all(found)


def test_no_option_takes_nan_for_a_number_in_a_range() -> None:
    types = [param.type for command in _all(group) for param in command.params]
    ranges = [each for each in types if isinstance(each, click.FloatRange)]
    assert len(ranges) > 20
    assert all(isinstance(each, Number) for each in ranges)
    with pytest.raises(click.BadParameter, match="not a number"):
        Number(0).convert("nan", None, None)
