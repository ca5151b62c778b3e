"""The ground truth as NDJSON: one line about the run, then one line a customer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.files.outputs import created
from cxstream.model.rfc3339 import rfc3339
from cxstream.simulate.faults import Rates
from cxstream.simulate.world import CAUSES, SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cxstream.simulate.day import Incident
    from cxstream.simulate.departures import Departure
    from cxstream.simulate.stream import Simulation


def write(path: Path, simulation: Simulation) -> None:
    """Write what was true of the records taken from the simulation.

    Raises:
        OutputError: the file cannot be written.
    """
    with created(path, private=False) as file:
        for line in lines(simulation):
            file.write(msgspec.json.encode(line) + b"\n")


def lines(simulation: Simulation) -> Iterator[dict[str, Any]]:
    """Yield the truth line by line; times are RFC 3339, pain has the unit of `tolerance`."""
    until = simulation.tally.until
    yield _run(simulation)
    people, samples = simulation.life.people, [pain for at, pain in simulation.life.pain if at <= until]
    for index, subject in enumerate(simulation.subjects):
        left = [
            _departure(d, until) for d in simulation.life.departures.of.get(index, []) if d.decided_at < until
        ]
        yield {
            "line": "customer",
            "subject": subject.decode(),
            "segment": SEGMENTS[people.segment[index]].name,
            "tolerance": round(float(people.tolerance[index]), 3),
            "pain": [round(float(pain[index]), 3) for pain in samples],
            "churned_at": left[0]["left_at"] if left else None,
            "departures": left,
            **_acts(simulation, index, until),
        }


def _run(simulation: Simulation) -> dict[str, Any]:
    plan, tally = simulation.plan, simulation.tally
    return {
        "line": "run",
        "seed": plan.seed,
        "customers": plan.customers,
        "trouble": plan.trouble,
        **({} if plan.acting is None else {"rules": plan.acting.rules.label, "effect": plan.acting.effect}),
        "start": rfc3339(plan.start),
        "until": rfc3339(tally.until),
        "rates": {name: getattr(plan.rates, name) for name in Rates.__slots__},
        "records": tally.records,
        "accepted": tally.accepted,
        "faults": dict(sorted(tally.faults.items())),
        "kinds": dict(sorted(tally.kinds.items())),
        "pain_at": [rfc3339(at) for at, _ in simulation.life.pain if at <= tally.until],
        "incidents": [_incident(i) for i in simulation.life.calendar.drawn if i.start < tally.until],
    }


def _acts(simulation: Simulation, index: int, until: int) -> dict[str, Any]:
    """What the CRM did on signals; nothing where it acts by chance."""
    if simulation.crm is None:
        return {}
    acts = simulation.crm.acts.get(index, [])
    return {"acts": [{"at": rfc3339(a.at), "arm": a.arm, "kept": a.kept} for a in acts if a.at < until]}


def _incident(incident: Incident) -> dict[str, str]:
    return {"cause": CAUSES[incident.cause], "start": rfc3339(incident.start), "end": rfc3339(incident.end)}


def _departure(departure: Departure, until: int) -> dict[str, Any]:
    back = departure.won_back_at
    return {
        "decided_at": rfc3339(departure.decided_at),
        "left_at": rfc3339(departure.left_at),
        "pain": departure.pain,
        "reasons": [{"cause": cause, "share": share} for cause, share in departure.reasons],
        "won_back_at": rfc3339(back) if back is not None and back < until else None,
    }
