"""State, replay and recovery, one after the other: `make figures`. Run nothing else beside them."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name in ("state.py", "files.py", "recovery.py"):
        print(f"--- {name}", flush=True)
        subprocess.run([sys.executable, str(HERE / name)], check=True)


if __name__ == "__main__":
    main()
