"""The rules `default-1`. Tests whose numbers, levels or words follow from them name them, so that they hold by any default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxstream.model.parameters import ScoringParams
from cxstream.rules.file import read_file

FILE = Path(__file__).parents[1] / "examples" / "default-1.toml"
DEFAULT_1 = read_file(FILE).params


def default_1(**changes: Any) -> ScoringParams:
    """The rules `default-1` with other values; tables name only what is to change."""
    known = DEFAULT_1.model_dump(exclude_none=True)
    tables = {
        name: {**known[name], **value}
        for name, value in changes.items()
        if isinstance(value, dict) and isinstance(known.get(name), dict)
    }
    return ScoringParams.model_validate({**known, **changes, **tables})
