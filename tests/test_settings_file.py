"""Which settings file is read, and what must not be: attacks by whoever can put a file into a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cxstream.model.errors import SettingsError
from cxstream.settings import file as settings_file
from cxstream.settings import load

if TYPE_CHECKING:
    from pathlib import Path

STRANGER = (
    'kafka = "stranger.example:9092"\n[security]\nprotocol = "SASL_PLAINTEXT"\nsasl_mechanism = "PLAIN"\n'
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, where a stranger's settings file lies."""
    place = tmp_path / "clone"
    place.mkdir()
    (place / settings_file.NAME).write_text(STRANGER)
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CXSTREAM_CONFIG", raising=False)
    monkeypatch.setattr(settings_file, "_noticed", False)
    return place


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """The user's own settings file."""
    file = tmp_path / "config" / "cxstream" / settings_file.NAME
    file.parent.mkdir(parents=True, mode=0o755)
    file.write_text('kafka = "mine:9092"\n')
    file.chmod(0o644)
    return file


def test_a_file_of_the_current_folder_does_not_redirect_a_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXSTREAM_SECURITY__PASSWORD", "hunter2")
    settings = load()
    assert (settings.kafka, settings.security.protocol) == ("localhost:9092", "PLAINTEXT")
    load()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cxstream.toml in the current folder is not read: name it with --config cxstream.toml" in said


def test_the_notice_comes_once_from_a_command_and_leaves_its_output_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cxstream", "topics", "--kafka", "127.0.0.1:1"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("in the current folder is not read") == 1
    assert "stranger" not in done.stderr


def test_a_file_that_is_named_is_read_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load("cxstream.toml").kafka == "stranger.example:9092"
    monkeypatch.setenv("CXSTREAM_CONFIG", "cxstream.toml")
    assert load().kafka == "stranger.example:9092"
    assert capsys.readouterr().err == ""
    with pytest.raises(SettingsError, match=r"none\.toml: no such settings file"):
        load("none.toml")


def test_the_users_own_file_is_read(users: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert settings_file.find() == users
    assert load().kafka == "mine:9092"
    assert "is not read" in capsys.readouterr().err


def test_no_word_where_the_users_folder_is_the_current_one(
    users: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(users.parent)
    assert load().kafka == "mine:9092"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_refused(users: Path, mode: int) -> None:
    users.chmod(mode)
    with pytest.raises(SettingsError, match=r"cxstream\.toml: not read, as others can write it: run 'chmod"):
        load()


def test_a_folder_that_others_can_write_is_refused(users: Path) -> None:
    users.parent.chmod(0o777)
    with pytest.raises(SettingsError, match=r"cxstream: not read, as others can write it"):
        load()


def test_a_file_of_another_user_is_refused(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = users.stat().st_uid
    monkeypatch.setattr(settings_file.os, "geteuid", lambda: mine + 1)
    if mine == 0:
        os.chown(users, 4711, -1)
        os.chown(users.parent, 0, -1)
    with pytest.raises(SettingsError, match=r"belongs to another user \(uid \d+\)"):
        load()


def test_a_link_is_as_trustworthy_as_what_it_leads_to(users: Path, folder: Path) -> None:
    users.unlink()
    users.symlink_to(folder / settings_file.NAME)
    (folder / settings_file.NAME).chmod(0o666)
    with pytest.raises(SettingsError, match="others can write it"):
        load()


@pytest.mark.parametrize("relative", ["", ".", "config", "../clone"])
def test_no_variable_makes_the_current_folder_the_users(
    relative: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "cxstream").mkdir()
    (folder / ".config" / "cxstream").mkdir(parents=True)
    for place in ("cxstream", ".config/cxstream"):
        (folder / place / settings_file.NAME).write_text(STRANGER)
    monkeypatch.setenv("XDG_CONFIG_HOME", relative)
    monkeypatch.setenv("HOME", relative or ".")
    assert settings_file.own() is None
    assert load().kafka == "localhost:9092"


def test_what_is_no_toml_is_said_with_its_name(users: Path) -> None:
    users.write_text("kafka = \n")
    with pytest.raises(SettingsError, match=r"cxstream\.toml: is not TOML: .*line 1"):
        load()
    users.write_text("nonsense = 1\n")
    with pytest.raises(SettingsError, match=r"nonsense: .*from .*cxstream\.toml"):
        load()
