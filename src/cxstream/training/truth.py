"""Who left by the ground truth of `cxstream simulate --truth`: also those of whom no `churned` event tells.

At a cutoff those count who are there by the truth. In events one departure in five is never told: who is gone without a word
looks like a customer who is about to leave, and by events stays.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from cxstream.model.errors import InputError
from cxstream.training.snapshots import happened

if TYPE_CHECKING:
    from pathlib import Path

    from cxstream.training.snapshots import Snapshots

# Departures of each customer: from when, and until when they are gone, ms UTC.
Truth = dict[str, list[tuple[int, int]]]
_NEVER = 2**62


def read_truth(path: Path) -> Truth:
    """Departures of customers: from when, and until when they are gone, ms UTC.

    Raises:
        InputError: the file cannot be read, or is no ground truth.
    """
    found: Truth = {}
    number = 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                said = msgspec.json.decode(line)
                if said["line"] == "customer":
                    found[said["subject"]] = [_gone(each) for each in said["departures"]]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}, line {number}: no ground truth of simulated customers; 'cxstream simulate --truth' writes one"
        ) from error
    if not found:
        raise InputError(f"{path}: names no customer; 'cxstream simulate --truth' writes a ground truth")
    return found


def _gone(departure: dict[str, Any]) -> tuple[int, int]:
    back = departure["won_back_at"]
    return _ms(departure["left_at"]), _NEVER if back is None else _ms(back)


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def by_truth(snapshots: Snapshots, truth: Truth) -> Snapshots:
    """Snapshots of those who are there by the truth, with the departures of the truth.

    Args:
        snapshots: of simulated customers.
        truth: departures of customers by their names; those whom it does not name stay.
    """
    number = {name: i for i, name in enumerate(snapshots.names)}
    gone = sorted(
        (number[name], *each) for name, all_of in truth.items() if name in number for each in all_of
    )
    left = happened([(who, begin, False) for who, begin, _ in gone])
    here = np.ones(len(snapshots), bool)
    some = np.flatnonzero(np.isin(snapshots.customer, left.customers))
    spells: dict[int, list[tuple[int, int]]] = {}
    for who, begin, end in gone:
        spells.setdefault(who, []).append((begin, end))
    for i, who, time in zip(
        some.tolist(), snapshots.customer[some].tolist(), snapshots.time[some].tolist(), strict=True
    ):
        here[i] = not any(begin <= time < end for begin, end in spells[who])
    return replace(snapshots.taken(here), churned=left)
