"""`cxstream plan`: what an installation needs and costs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.options import Number, output

if TYPE_CHECKING:
    from cxstream.plan.estimate import Plan, Prices

_POSITIVE = Number(min=0, min_open=True, max=1e9)
_PRICE = Number(min=0, max=1e9)
_DAYS = Number(min=0, min_open=True, max=36_600)


@click.command("plan")
@click.option("--rate", type=_POSITIVE, required=True, help="Touchpoints a second, mean of a day.")
@click.option(
    "--customers",
    type=click.IntRange(1, 10**11),
    required=True,
    help="Customers with a touchpoint in the last 90 days.",
)
@click.option(
    "--retention",
    type=_DAYS,
    default=90,
    show_default=True,
    help="Days that cx.touchpoints keeps its records.",
)
@click.option(
    "--peak",
    type=Number(1, 1000),
    default=3,
    show_default=True,
    help="How many times the mean rate the busiest minutes have.",
)
@click.option(
    "--active-days",
    type=Number(0, 91),
    default=5,
    show_default=True,
    help="Days with touchpoints, of a customer, in the last 90.",
)
@click.option("--replicas", type=click.IntRange(1, 9), default=3, show_default=True, help="Copies in Kafka.")
@click.option(
    "--compression",
    type=Number(1, 100),
    default=1,
    show_default=True,
    help="How many times smaller your producers' compression makes touchpoints.",
)
@click.option(
    "--warehouse-days",
    type=Number(0, 36_600),
    default=400,
    show_default=True,
    help="Days that the warehouse keeps touchpoints; 0: no warehouse.",
)
@click.option(
    "--broker-disk",
    type=Number(1, 1e9),
    default=8000,
    show_default=True,
    help="Largest disk of a broker, in GiB.",
)
@click.option("--price-core", type=_PRICE, default=25, show_default=True, help="Of a core, a month.")
@click.option(
    "--price-memory", type=_PRICE, default=3.5, show_default=True, help="Of a GiB of memory, a month."
)
@click.option("--price-disk", type=_PRICE, default=0.1, show_default=True, help="Of a GiB of disk, a month.")
@click.option("--currency", default="EUR", show_default=True, help="Of the prices.")
@click.option(
    "--sources", is_flag=True, help="Show also what the plan reckons with, and how it was measured."
)
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
def command(
    rate: float,
    customers: int,
    retention: float,
    sources: bool,
    form: str,
    currency: str,
    **options: Any,
) -> None:
    """Say what an installation needs: cores, memory, brokers, disk and money.

    It plans for twice the peak, so that workers catch up after a stop, and for one worker more than are needed. Speeds
    are half of the lowest ones measured on a computer that does nothing else. Prices are examples: give those of your provider. No broker is needed.

    \b
    Example:
      cxstream plan --rate 3000 --customers 1000000
      cxstream plan --rate 3000 --customers 1000000 --retention 400 --price-core 31 --price-memory 4.1 --price-disk 0.08
    """  # noqa: D301
    from cxstream.plan.estimate import Load, Prices, plan
    from cxstream.plan.measured import FIGURES

    prices = Prices(options.pop("price_core"), options.pop("price_memory"), options.pop("price_disk"))
    load = Load(rate, customers, retention, broker_disk_gib=options.pop("broker_disk"), **options)
    found = plan(load)
    if form == "json":
        parts = [asdict(part) | {"money": part.money(prices)} for part in found.parts]
        whole = {
            "partitions": found.partitions,
            "parts": parts,
            "money": found.money(prices),
            "currency": currency,
        }
        figures = {"figures": [asdict(each) for each in FIGURES]} if sources else {}
        click.echo(json.dumps({"load": asdict(load), **whole, **figures}, ensure_ascii=False, indent=2))
        return
    _show(found, prices, currency)
    if sources:
        click.echo()
        for each in FIGURES:
            click.echo(f"{each.planned:,.0f} {each.unit} {each.what}\n    {each.source}")


def _show(found: Plan, prices: Prices, currency: str) -> None:
    from rich.table import Table

    from cxstream.logs.printable import printable

    unit = printable(currency)
    table = Table("part")
    for heading in ("processes", "cores each", "memory each", "disk each", f"{unit} a month"):
        table.add_column(heading, justify="right")
    for part in found.parts:
        table.add_row(
            part.name,
            f"{part.processes:,}",
            f"{part.cores:,}",
            f"{part.memory_gib:,.1f} GiB",
            f"{part.disk_gib:,.0f} GiB",
            f"{part.money(prices):,.0f}",
        )
    output().print(table)
    cores = sum(part.processes * part.cores for part in found.parts)
    memory = sum(part.processes * part.memory_gib for part in found.parts)
    disk = sum(part.processes * part.disk_gib for part in found.parts)
    click.echo(
        f"in all: {cores:,} cores, {memory:,.0f} GiB of memory, {disk:,.0f} GiB of disk, "
        f"{found.money(prices):,.0f} {unit} a month; {found.partitions:,} partitions"
    )
