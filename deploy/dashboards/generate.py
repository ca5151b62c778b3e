"""Writes the dashboards into deploy/grafana and their tables into docs/dashboards.md, or checks what is there.

python deploy/dashboards/generate.py [--check] [--out FOLDER] [--runbooks ADDRESS]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import console
import experience
import grafana
import pipeline
import postgresql
import state
import warehouse

if TYPE_CHECKING:
    from board import Board

ROOT = Path(__file__).parent.parent.parent
BOARDS: tuple[Board, ...] = (
    pipeline.BOARD,
    experience.BOARD,
    state.BOARD,
    postgresql.BOARD,
    warehouse.BOARD,
    console.BOARD,
)
OUT = ROOT / "deploy" / "grafana"
DOCUMENT = ROOT / "docs" / "dashboards.md"
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"


def tables() -> str:
    """What every panel shows, in Markdown."""
    parts: list[str] = []
    for board in BOARDS:
        parts += [f"## {board.title.removeprefix('cxstream / ')}", "", f"`{board.uid}`. {board.about}", ""]
        parts += ["| row | panel | what it shows | alerts on it |", "|---|---|---|---|"]
        for row in board.rows:
            for panel in row.panels:
                alerts = ", ".join(f"[{alert}](runbooks/{alert}.md)" for alert in panel.alerts)
                parts.append(f"| {row.title} | {panel.title} | {panel.shows} | {alerts} |")
        parts.append("")
    return "\n".join(parts).strip("\n")


def files(out: Path, runbooks: str) -> dict[Path, str]:
    """Everything that is generated: path and text."""
    made = {out / board.file: grafana.text_of(board, runbooks) for board in BOARDS}
    if out == OUT:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        made[DOCUMENT] = f"{before}{BEGIN}\n{tables()}\n{END}{rest.partition(END)[2]}"
    return made


def stale(out: Path, runbooks: str) -> list[Path]:
    """Files that are not what the boards say, and dashboards that no board is behind."""
    made = files(out, runbooks)
    different = [path for path, text in made.items() if not path.is_file() or path.read_text() != text]
    return different + [path for path in sorted(out.glob("*.json")) if path not in made]


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something differs")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the JSON files")
    parser.add_argument("--runbooks", default=grafana.RUNBOOKS, help="address of the runbooks, for links")
    chosen = parser.parse_args()
    if chosen.check:
        different = stale(chosen.out, chosen.runbooks)
        for path in different:
            print(f"{path} is not what the boards say: python deploy/dashboards/generate.py", file=sys.stderr)
        return 1 if different else 0
    chosen.out.mkdir(parents=True, exist_ok=True)
    for path, text in files(chosen.out, chosen.runbooks).items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
