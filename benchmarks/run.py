"""All benchmarks, one after the other. Run nothing else beside them; compare ratios, not machines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    for name in ("state.py", "files.py", "recovery.py", "pipeline.py"):
        print(f"--- {name}", flush=True)
        subprocess.run([sys.executable, str(HERE / name)], check=True)


if __name__ == "__main__":
    main()
