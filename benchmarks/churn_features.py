"""Which features would make the churn risk of simulated customers better: each candidate beside those that are there.

    python benchmarks/churn_features.py --customers 8000 --days 180

Lives of `cxstream simulate` without records, day by day as panes have them, so that a candidate costs a line here instead of a
kernel. At weekly cutoffs a logistic regression is fitted to seven customers in ten with the features of the rules and one candidate
more; the table says how much less log loss the others then have, and the AUC. Departures are those of the ground truth. Points are
without repeat contacts, channel switches and raw rage clicks, so figures differ a little from those of `cxstream train churn`.
A kind of the company's own would be counted beside its points: each kind that there is stands for one, counted by itself.
All simulated customers are there from the first day on: how new one is can only be told from the log.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.linear_model import LogisticRegression

from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS
from cxstream.simulate.life import Life
from cxstream.simulate.rows import ABANDONED, RESOLVED, UNRESOLVED
from cxstream.training.measures import auc, log_loss

WINDOW, WARMUP, EVERY, LONGEST = 90, 35, 7, 30
COMPANY = (Kind.email_sent, Kind.campaign_sent, Kind.action_taken, Kind.churned, Kind.won_back)
FAILED = [kind for kind in Kind if kind.spec.failed_step]
EFFORT, MOOD = (np.array([kind.spec.points[i] for kind in Kind]) for i in (0, 1))


class Days:
    """What happened to every customer on every day: float32[customers, days] by name."""

    def __init__(self, customers: int, days: int) -> None:
        self.shape = (customers, days)
        self.of: dict[str, np.ndarray] = {}
        self.nps = np.full(self.shape, -1, np.int8)
        self.unsubscribed = np.zeros(self.shape, bool)
        self.paid = np.zeros(customers, np.float32)

    def add(self, name, day, customers, amounts=1.0) -> None:
        found = self.of.setdefault(name, np.zeros(self.shape, np.float32))
        np.add.at(found[:, day], customers, amounts)

    def take(self, day, rows) -> None:
        kind, who = rows["kind"], rows["cust"].astype(np.int64)
        effort, mood = points(rows)
        self.add("effort", day, who, effort)
        self.add("mood", day, who, mood)
        answers(self, day, rows)
        for name, which in {
            "touches": ~np.isin(kind, COMPANY),
            "contacts": kind == Kind.contact,
            "unhelped": (kind == Kind.contact) & np.isin(rows["outcome"], (UNRESOLVED, ABANDONED)),
            "late": (kind == Kind.delivery) & (rows["late_days"] > 0),
            "failed": np.isin(kind, FAILED),
            "complaints": kind == Kind.complaint_opened,
            "resolved": kind == Kind.complaint_resolved,
            "purchases": kind == Kind.purchase,
            "sent": kind == Kind.campaign_sent,
            "opened": kind == Kind.campaign_opened,
            "returns": kind == Kind.return_,
        }.items():
            self.add(name, day, who[which])
        self.add("waited", day, who, rows["wait"].clip(0) / 60)
        paid = kind == Kind.purchase
        self.add("spent", day, who[paid], rows["cents"][paid] / 100)
        self.unsubscribed[who[kind == Kind.unsubscribed], day] = True
        for each in np.unique(kind).tolist():
            self.add(Kind(each), day, who[kind == each])
        self.paid[who[paid]] = rows["cents"][paid] / 100
        trouble = np.isin(kind, FAILED) | np.isin(kind, (Kind.complaint_opened, Kind.return_))
        trouble |= (kind == Kind.delivery) & (rows["late_days"] > 0)
        trouble |= (kind == Kind.contact) & np.isin(rows["outcome"], (UNRESOLVED, ABANDONED))
        self.add("incidents", day, who[trouble])
        self.add("incident_points", day, who[trouble], effort[trouble])
        self.of.setdefault("incident_price", np.zeros(self.shape, np.float32))[who[trouble], day] = self.paid[
            who[trouble]
        ]


def points(rows):
    kind = rows["kind"]
    effort, mood = EFFORT[kind].copy(), MOOD[kind].copy()
    contact = kind == Kind.contact
    waits = (contact | (kind == Kind.queue)) & (rows["wait"] >= 0)
    effort += np.where(waits, np.clip(rows["wait"] / 60 - 1, 0, 10), 0)
    transfers = np.where(contact, np.minimum(rows["transfers"], 5), 0)
    given_up, no, yes = (contact & (rows["outcome"] == each) for each in (ABANDONED, UNRESOLVED, RESOLVED))
    late = np.where(kind == Kind.delivery, rows["late_days"], 0)
    on_time = (kind == Kind.delivery) & (late == 0)
    effort += 2 * transfers + 3 * (given_up | no) + np.minimum(late, 5)
    mood += yes + 0.5 * on_time - 0.5 * transfers - 1.5 * (given_up | no) - np.minimum(0.5 * late, 2.5)
    return effort, mood


def answers(days, day, rows) -> None:
    kind, score = rows["kind"], rows["score"].astype(float)
    who = rows["cust"].astype(np.int64)
    for name, of, weight, value in (
        ("ease", Kind.survey_ces, 1.0, 100 * (7 - score) / 6),
        ("sat", Kind.survey_csat, 1.0, 25 * (score - 1)),
        ("sat", Kind.review, 0.5, 25 * (score - 1)),
        ("sat", Kind.survey_nps, 0.5, 10 * score),
        ("sat", Kind.social_post, 0.25, 50 * (score / 100 + 1)),
    ):
        which = kind == of
        days.add(f"{name}_n", day, who[which], weight)
        days.add(f"{name}_sum", day, who[which], weight * value[which])
    which = kind == Kind.survey_nps
    days.nps[who[which], day] = score[which]


class Cut:
    """All customers at a midnight."""

    def __init__(self, days: Days, time: int) -> None:
        self.days, self.time = days, time
        begin = max(0, time - WINDOW)
        self.ages = time - np.arange(begin, time)
        self.part = {name: each[:, begin:time].astype(float) for name, each in days.of.items()}
        self.active = self.part["touches"] > 0
        self.begin = begin

    def decayed(self, name, half=14.0, most=WINDOW):
        return self.part[name] @ np.where(self.ages <= most, 2.0 ** (-self.ages / half), 0)

    def sum(self, name, low=0, high=WINDOW):
        return self.part[name][:, (self.ages > low) & (self.ages <= high)].sum(axis=1)

    def quiet(self, name="touches"):
        """Days since the last one, the first one, and how many days there are with one."""
        there = self.part[name] > 0
        n = there.sum(axis=1)
        last = np.where(n > 0, self.ages[-1] + np.argmax(there[:, ::-1], axis=1), 0)
        first = np.where(n > 0, self.ages[np.argmax(there, axis=1)], 0)
        return last, first, n

    def latest(self, name, when):
        """What is there of the last day with something of `when`; 0 without one."""
        there = self.part[when] > 0
        place = there.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
        return np.where(there.any(axis=1), self.part[name][np.arange(len(there)), place], 0)

    def missed(self, days):
        """Active days missed of late."""
        recent = self.active[:, self.ages <= days].sum(axis=1)
        _, first, n = self.quiet()
        before = n - recent
        usual = np.where(before >= 3, days * (before - 1) / np.maximum(first - days, 1), 0)
        return np.maximum(usual - recent, 0)

    def features(self):
        """Those of the rules, without lapse."""
        long, short = self._effort(WINDOW), self._effort(7)
        mood = self.decayed("mood")
        implicit = 100 / (1 + np.exp(-(np.log(0.7 / 0.3) + mood / 4)))
        sat = (implicit + self.decayed("sat_sum")) / (1 + self.decayed("sat_n"))
        last, first, n = self.quiet()
        gap = np.where(n >= 3, (first - last) / np.maximum(n - 1, 1), 1)
        nps = self.days.nps[:, self.begin : self.time]
        place = np.where((nps >= 0).any(axis=1), nps.shape[1] - 1 - np.argmax(nps[:, ::-1] >= 0, axis=1), 0)
        latest = nps[np.arange(len(nps)), place]
        left = self.days.unsubscribed[:, self.begin : self.time]
        opened = self.days.of["complaints"][:, : self.time].sum(axis=1) - self.days.of["resolved"][
            :, : self.time
        ].sum(axis=1)
        return {
            "effort": long / 100,
            "surge": np.maximum(short - long, 0) / 100,
            "dissatisfaction": 1 - sat / 100,
            "detractor": ((latest >= 0) & (latest <= 6)).astype(float),
            "complaint": np.clip(opened, 0, 3) / 3,
            "silence": np.where(n >= 3, np.clip(last / gap - 1, 0, 3), 0) / 3,
            "unsubscribed": left.any(axis=1).astype(float),
            "slowdown": np.minimum(self.missed(14), 6) / 6,
            "just_unsubscribed": left[:, self.ages <= 21].any(axis=1).astype(float),
            "unresolved": np.minimum(self.decayed("unhelped"), 2) / 2,
        }

    def _effort(self, most):
        implicit = 100 * (1 - 2 ** (-self.decayed("effort", most=most) / 10))
        return (implicit + self.decayed("ease_sum", most=most)) / (1 + self.decayed("ease_n", most=most))

    def candidates(self):
        """What else could be a feature: a name says what it measures."""
        last, first, n = self.quiet()
        bought, began, times = self.quiet("purchases")
        rhythm = np.where(times >= 2, (began - bought) / np.maximum(times - 1, 1), 1)
        gap = np.where(n >= 3, (first - last) / np.maximum(n - 1, 1), 1)
        buys = self.sum("purchases", 30, 90) / 60 * 30 - self.sum("purchases", 0, 30)
        ever = self.days.of["touches"][:, : self.time] > 0
        tenure = np.where(ever.any(axis=1), self.time - np.argmax(ever, axis=1), 0)
        member = self.days.of[Kind.loyalty_joined][:, : self.time].sum(axis=1) > 0
        price, fades = self.latest("incident_price", "incidents"), 2.0 ** (-self.quiet("incidents")[0] / 14)
        usual = self.sum("spent") / np.maximum(self.sum("purchases"), 1)
        return {
            "effort of a longer memory (half-life 25 days)": 1 - 2 ** (-self.decayed("effort", 25) / 20),
            "effort points, not saturated": np.minimum(self.decayed("effort"), 60) / 60,
            "mood of a longer memory": np.clip(-self.decayed("mood", 25), 0, 30) / 30,
            "trend of satisfaction (mood of 7 days)": np.clip(-self.decayed("mood", 5, 7), 0, 12) / 12,
            "contacts": np.minimum(self.decayed("contacts"), 8) / 8,
            "waiting": np.minimum(self.decayed("waited"), 30) / 30,
            "late deliveries": np.minimum(self.decayed("late", 25), 3) / 3,
            "failed steps": np.minimum(self.decayed("failed"), 8) / 8,
            "complaints, open or not": np.minimum(self.decayed("complaints", 25), 3) / 3,
            "returns": np.minimum(self.decayed("returns", 25), 2) / 2,
            "silence up to 8 rhythms": np.where(n >= 3, np.clip(last / gap - 1, 0, 8), 0) / 8,
            "active days missed in 7": np.minimum(self.missed(7), 4) / 4,
            "active days missed in 21": np.minimum(self.missed(21), 8) / 8,
            "a purchase is overdue": np.where(
                times >= 2, np.clip(bought / np.maximum(rhythm, 1) - 1, 0, 3), 0
            )
            / 3,
            "fewer purchases than before": np.clip(buys, 0, 4) / 4,
            "rare purchases": 1 / (1 + self.sum("purchases") / 3),
            "little spent": 1 / (1 + self.sum("spent") / 200),
            "few active days": 1 / (1 + n / 15),
            "campaigns not opened": 1
            - np.clip(self.sum("opened") / np.maximum(self.sum("sent"), 1) / 0.5, 0, 1),
            "new customer (days since the first touch)": 1 / (1 + tenure / 30),
            "not in the loyalty programme": 1.0 - member,
            "price of the last incident (amount of the order before it)": np.log1p(price) / 7 * fades,
            "price of the last incident, for what is usually spent": np.clip(
                price / np.maximum(usual, 1), 0, 3
            )
            / 3
            * fades,
            "effort of the last incident": np.minimum(self.latest("incident_points", "incidents"), 20)
            / 20
            * fades,
            **{
                f"own kind that is like {kind.name}": np.minimum(self.decayed(kind), 4) / 4
                for kind in Kind
                if kind in self.part
            },
            "campaigns of 14 days": np.minimum(self.sum("sent", 0, 14), 4) / 4,
        }


def live(customers, length, seed):
    days = Days(customers, length)
    life = Life(customers, 0, seed)
    for day, rows in life.days():
        days.take(day.number, rows)
        if day.number == length - 1:
            return days, life.departures.of
    return days, {}


def outcomes(left, customers, time):
    """Who is there at a cutoff, and the days until each leaves."""
    here, wait = np.ones(customers, bool), np.full(customers, np.inf)
    for who, departures in left.items():
        for each in departures:
            at, back = each.left_at / DAY_MS, (each.won_back_at or np.inf) / DAY_MS
            here[who] &= not at <= time < back
            if at > time:
                wait[who] = min(wait[who], at - time)
    return here, wait


def arguments(description: str | None) -> argparse.Namespace:
    """What simulated customers to look at, as the command line asks."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=8000)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--horizon", type=int, nargs="+", default=[30, 7], help="days, where they matter")
    return parser.parse_args()


def main() -> None:
    args = arguments(__doc__)
    days, left = live(args.customers, args.days, args.seed)
    there, more, wait, who = [], [], [], []
    for time in range(WARMUP, args.days - LONGEST + 1, EVERY):
        here, until = outcomes(left, args.customers, time)
        cut = Cut(days, time)
        there.append({name: x[here] for name, x in cut.features().items()})
        more.append({name: x[here] for name, x in cut.candidates().items()})
        wait.append(until[here])
        who.append(np.flatnonzero(here))
    x, tried = (
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} for parts in (there, more)
    )
    until, customer = np.concatenate(wait), np.concatenate(who)
    test = customer * 2_654_435_761 % 1000 < 300
    print(f"{len(until):,} snapshots of {args.customers:,} customers, seed {args.seed}")
    for horizon in args.horizon:
        report(horizon, until <= horizon, x, tried, test)


def report(horizon, y, x, tried, test) -> None:
    columns = list(x.values())
    w = np.ones(int(test.sum()))

    def measured(parts):
        rows = np.column_stack(parts)
        rows = rows / (rows.std(axis=0) + 1e-12)
        fitted = LogisticRegression(max_iter=500).fit(rows[~test], y[~test])
        p = fitted.predict_proba(rows[test])[:, 1]
        return log_loss(y[test], p, w), auc(y[test], p, w)

    whole, area = measured(columns)
    print(f"\n{horizon} days, {y.mean():.2%} leave: log loss {whole:.5f}, AUC {area:.4f}")
    found = []
    for i, name in enumerate(x):
        loss, without = measured(columns[:i] + columns[i + 1 :])
        found.append((loss - whole, f"feature {name}", f"{without:.4f} without"))
    for name, values in tried.items():
        loss, beside = measured([*columns, values])
        found.append((whole - loss, f"candidate: {name}", f"{beside:.4f} with"))
    for saves, name, said in sorted(found, reverse=True):
        print(f"  {name:58} saves {saves:+.5f}   AUC {said}")


if __name__ == "__main__":
    main()
