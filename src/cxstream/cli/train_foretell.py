"""`cxstream train foretell`: what a model of purchases says of customers."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxstream.cli.interrupts import whole
from cxstream.cli.options import Number, require_models, rules_option

if TYPE_CHECKING:
    from cxstream.training.customers import Customers
    from cxstream.training.foretell import Given

# Commas between three or four numbers.
_FIELDS = (2, 3)


@click.command("foretell")
@click.argument("file", required=False, metavar="[CUSTOMERS.csv]", type=click.Path(path_type=Path))
@click.option(
    "--customer",
    metavar="X,T_X,T[,ZBAR]",
    help="One customer instead of a file: repeats, recency, age, mean amount.",
)
@rules_option("Rules (TOML or JSON) with a purchase_model.  [default: those of the settings]")
@click.option(
    "--values",
    metavar="MODEL=VALUE,...",
    help="Parameters instead of rules: bg_nbd=R,ALPHA,A,B, mbg_nbd=R,ALPHA,A,B or pareto_nbd=R,ALPHA,S,BETA.",
)
@click.option("--spend", metavar="P,Q,V", help="With --values: parameters of Gamma-Gamma.")
@click.option(
    "--ahead",
    multiple=True,
    type=Number(min=0, min_open=True),
    default=(52.0,),
    show_default=True,
    help="How far to look ahead, in the unit of time of the model; may be given several times.",
)
@click.pass_obj
@whole
def foretell(
    config: str | None,
    /,
    file: Path | None,
    customer: str | None,
    rules_file: Path | None,
    values: str | None,
    spend: str | None,
    ahead: tuple[float, ...],
) -> None:
    """Print what a model of purchases foretells: P(alive) and the purchases to expect of each customer.

    CUSTOMERS.csv is a file as 'cxstream train purchases' takes it, with the columns frequency, recency, T and, if known,
    monetary_value (or x, t_x, T, zbar), in the unit of time of the model. The output is CSV: the columns of the file, p_alive,
    purchases_52 for each --ahead, and spend, what a purchase is expected to bring. Use it to compare with other software, or to
    check a number by hand; score cards have p_alive and clv of the rules in force.

    \b
    Example:
      cxstream train foretell customers.csv --rules rules.toml --ahead 10 --ahead 52
      cxstream train foretell --customer 26,30.86,31 --values bg_nbd=0.243,4.414,0.793,2.426
    """  # noqa: D301
    if (file is None) == (customer is None):
        raise click.UsageError("name a file of customers, or one with --customer X,T_X,T")
    if customer is not None and customer.count(",") not in _FIELDS:
        raise click.UsageError(
            f"--customer {customer}: name repeats, recency and age, and the mean amount if known: 26,30.86,31"
        )
    if values is not None and rules_file is not None:
        raise click.UsageError("--values and --rules both say the model; give one of them")
    if spend is not None and values is None:
        raise click.UsageError("--spend goes with --values; rules say their own")
    require_models()
    from cxstream.training.foretell import foretell as foretold

    by = _model(config, rules_file, values, spend)
    head, rows, customers = _customers(file, customer)
    found = foretold(customers, by, ahead)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*head, *found])
    for row, numbers in zip(rows, zip(*(each.tolist() for each in found.values()), strict=True), strict=True):
        writer.writerow([*row, *(f"{number:.10g}" for number in numbers)])


def _model(config: str | None, rules_file: Path | None, values: str | None, spend: str | None) -> Given:
    from cxstream.cli.training import rules_before
    from cxstream.settings import load
    from cxstream.training.foretell import given, of_rules

    if values is not None:
        return given(values, spend)
    return of_rules(rules_before(load(config), rules_file))


def _customers(file: Path | None, customer: str | None) -> tuple[list[str], list[list[str]], Customers]:
    """Column names, rows as they are written, and the customers in them."""
    from cxstream.training.rfm import read_rfm, rfm_of

    if file is None:
        values = str(customer).split(",")
        head = ["frequency", "recency", "T", "monetary_value"][: max(len(values), 3)]
        return head, [values], rfm_of("--customer", head, values)
    customers = read_rfm(file)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        head, *rows = [row for row in csv.reader(lines) if row]
    return head, [(row + [""] * len(head))[: len(head)] for row in rows], customers
