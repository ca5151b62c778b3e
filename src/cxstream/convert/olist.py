"""The Olist shop (the Kaggle data set of Brazilian orders) as touchpoints.

An order becomes a purchase, when it was placed, and a delivery, when it arrived; its reviews become reviews,
when they were answered. The customer is `customer_unique_id`: `customer_id` is another one for each order.

- The data writes local times without a zone: they are read as Sao Paulo's.
- The amount is the sum of the payments, in BRL.
- `late_days` is the delivery's clock time less the estimated date, which the data writes as its midnight, in
  days with their fraction, and 0 where that is negative: what is delivered at noon of the estimated date is
  half a day late.
- The review's text is its title and its message.
- A cancelled or unavailable order keeps its purchase, which took place; that it came to nothing has no time in
  the data, and so gives no event.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from cxstream.convert.drafts import Draft
from cxstream.convert.report import RowProblemError
from cxstream.convert.rows import Table
from cxstream.convert.times import LocalClock, local_parser
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from cxstream.convert.report import Report

ZONE = "America/Sao_Paulo"
CUSTOMERS = "olist_customers_dataset.csv"
ORDERS = "olist_orders_dataset.csv"
PAYMENTS = "olist_order_payments_dataset.csv"
REVIEWS = "olist_order_reviews_dataset.csv"
FILES = (CUSTOMERS, ORDERS, PAYMENTS, REVIEWS)

NOT_DELIVERED = "orders not delivered in this data: a purchase without a delivery"
ENDED = "orders cancelled or unavailable: the purchase stays, their end has no time in the data"

_DAY_SECONDS = 86_400
_local = local_parser("%Y-%m-%d %H:%M:%S")


class _Customer(NamedTuple):
    subject: str
    state: str


class _Order(NamedTuple):
    """A row of the orders."""

    order_id: str
    customer_id: str
    status: str
    placed: str
    delivered: str
    estimated: str


def drafts(folder: Path, report: Report) -> Iterator[Draft]:
    """The touchpoints of the shop: purchases and deliveries order by order, then the reviews.

    Args:
        folder: holds the CSV files of the archive, under their names.
        report: counts rows and hears of problems.

    Raises:
        InputError: a file is missing or lacks a column.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder / missing[0]}: missing; unpack the Kaggle archive of Olist into {folder}")
    return _Shop(folder, report).drafts()


class _Shop:
    def __init__(self, folder: Path, report: Report) -> None:
        self._report = report
        self._folder = folder
        self._clock = LocalClock(ZONE, report.notes)
        self._customers: dict[str, _Customer] = {}
        self._paid: dict[str, float] = {}
        self._buyers: dict[str, _Customer] = {}

    def drafts(self) -> Iterator[Draft]:
        self._read_customers()
        self._read_payments()
        yield from self._orders()
        yield from self._reviews()

    def _table(self, name: str) -> Table:
        return Table(self._folder / name, self._report)

    def _read_customers(self) -> None:
        rows = self._table(CUSTOMERS).select("customer_id", "customer_unique_id", "customer_state")
        for _, (customer_id, subject, state) in rows:
            self._customers[customer_id] = _Customer(subject, state)

    def _read_payments(self) -> None:
        table = self._table(PAYMENTS)
        for line, (order_id, value) in table.select("order_id", "payment_value"):
            try:
                amount = float(value)
            except ValueError:
                # NaN spoils the sum of this order, so that no purchase claims a part of its money.
                amount = math.nan
            if not math.isfinite(amount):
                self._report.problem(
                    table.name, line, "payment_value", "unreadable_number", f"{value!r} is no number"
                )
                amount = math.nan
            self._paid[order_id] = self._paid.get(order_id, 0.0) + amount

    def _orders(self) -> Iterator[Draft]:
        table = self._table(ORDERS)
        columns = (
            "order_id",
            "customer_id",
            "order_status",
            "order_purchase_timestamp",
            "order_delivered_customer_date",
            "order_estimated_delivery_date",
        )
        for line, cells in table.select(*columns):
            order = _Order(*cells)
            customer = self._customers.get(order.customer_id)
            if customer is None:
                message = f"{order.customer_id!r} is not in {CUSTOMERS}"
                self._report.problem(table.name, line, "customer_id", "unknown_customer", message)
                continue
            self._buyers[order.order_id] = customer
            for make in (self._purchase, self._delivery):
                try:
                    draft = make(order, customer, table.name, line)
                except RowProblemError as error:
                    self._report.row_problem(table.name, line, error)
                else:
                    if draft is not None:
                        yield draft

    def _purchase(self, order: _Order, customer: _Customer, file: str, line: int) -> Draft:
        if order.status in {"canceled", "unavailable"}:
            self._report.notes[ENDED] += 1
        paid = self._paid.get(order.order_id)
        if paid is None:
            raise RowProblemError("order_id", "no_payment", f"{order.order_id!r} is not in {PAYMENTS}")
        if not math.isfinite(paid):
            raise RowProblemError(
                "order_id", "no_payment", f"{order.order_id!r} has an unreadable one in {PAYMENTS}"
            )
        at = self._ms("order_purchase_timestamp", order.placed)
        data = {
            "channel": "web",
            "touchpoint": "checkout",
            "stage": "purchase",
            "amount": round(paid, 2),
            "currency": "BRL",
            "order_id": order.order_id,
            "location": customer.state,
        }
        return Draft("purchase", order.order_id, "olist/orders", customer.subject, at, data, file, line)

    def _delivery(self, order: _Order, customer: _Customer, file: str, line: int) -> Draft | None:
        if not order.delivered:
            self._report.notes[NOT_DELIVERED] += 1
            return None
        at = self._ms("order_delivered_customer_date", order.delivered)
        delivered = _read("order_delivered_customer_date", order.delivered)
        late = delivered - _read("order_estimated_delivery_date", order.estimated)
        data = {
            "channel": "crm",
            "touchpoint": "delivery",
            "stage": "service",
            "late_days": max(0.0, late.total_seconds() / _DAY_SECONDS),
            "order_id": order.order_id,
            "location": customer.state,
        }
        return Draft("delivery", order.order_id, "olist/deliveries", customer.subject, at, data, file, line)

    def _reviews(self) -> Iterator[Draft]:
        table = self._table(REVIEWS)
        columns = (
            "review_id",
            "order_id",
            "review_score",
            "review_comment_title",
            "review_comment_message",
            "review_answer_timestamp",
        )
        for line, cells in table.select(*columns):
            try:
                yield self._review(cells, table.name, line)
            except RowProblemError as error:
                self._report.row_problem(table.name, line, error)

    def _review(self, cells: tuple[str, ...], file: str, line: int) -> Draft:
        review_id, order_id, score, title, message, answered = cells
        customer = self._buyers.get(order_id)
        if customer is None:
            raise RowProblemError("order_id", "unknown_order", f"{order_id!r} has no customer in {ORDERS}")
        try:
            rating = int(score)
        except ValueError:
            raise RowProblemError(
                "review_score", "unreadable_number", f"{score!r} is no whole number"
            ) from None
        data: dict[str, Any] = {
            "channel": "email",
            "touchpoint": "review",
            "stage": "service",
            "rating": rating,
            "order_id": order_id,
            "location": customer.state,
        }
        text = "\n".join(part for part in (title.strip(), message.strip()) if part)
        if text:
            data |= {"text": text, "lang": "pt"}
        at = self._ms("review_answer_timestamp", answered)
        # One answer can stand for several orders: it is told once for each, under the same review_id.
        return Draft(
            "review", f"{review_id}:{order_id}", "olist/reviews", customer.subject, at, data, file, line
        )

    def _ms(self, column: str, text: str) -> int:
        return self._clock.ms(_read(column, text))


def _read(column: str, text: str) -> datetime:
    try:
        return _local(text)
    except ValueError as error:
        raise RowProblemError(column, "unreadable_time", str(error)) from error
