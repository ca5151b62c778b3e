"""The worker beside other engines of streams, in turn on one log of one Kafka: `make bench`.

    python benchmarks/side_by_side.py [--only faust,streams] [--runs 5] [--events 2000000]

Each round runs cxstream and then each peer, every one from the beginning of the log with nothing kept: cxstream does all
of its scoring and writes signals, cards, scored touchpoints and snapshots, exactly once; a peer does one windowed sum.
Rates are from the first progress to the last, without start-up, of at most --seconds. The table has medians, and
ratios of rates in the same round. Read benchmarks/README.md on how to read it. Ctrl-C prints the table so far.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cxstream import __version__
from cxstream.kafka.admin import ensure_topics
from cxstream.local import LocalKafka
from cxstream.model.errors import CxstreamError
from cxstream.scoring.engine import compile_kernels
from cxstream.settings import Settings
from peers.catalogue import PEERS, Peer
from peers.install import Installed, MissingError, install
from peers.measure import PARTITIONS, FailedError, Limits, forget, run
from peers.table import OURS, Results, markdown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CXSTREAM = [sys.executable, "-m", "cxstream"]
DOES = "all scores, signals, cards, scored touchpoints, exactly once"


def say(text: str) -> None:
    """Progress, apart from the table."""
    print(text, file=sys.stderr, flush=True)


def cxstream(bootstrap: str, group: str, events: int, limits: Limits) -> float:
    """Events a second of the worker."""
    settings = Settings(kafka=bootstrap)
    asyncio.run(ensure_topics(settings, partitions=PARTITIONS))
    worker = [*CXSTREAM, "worker", "--no-ticker", "--kafka", bootstrap, "--group", group]
    worker += ["--web-port", "0", "--metrics-port", "0"]
    return asyncio.run(
        run(bootstrap, lambda *_: worker, {}, group=group, commits=True, events=events, limits=limits)
    )


def peer_rate(
    bootstrap: str, peer: Peer, installed: Installed, group: str, events: int, limits: Limits
) -> float:
    """Events a second of a peer."""
    settings = Settings(kafka=bootstrap)
    commit = str(settings.worker.flush_seconds)

    def command(folder: Path, result: str) -> Sequence[str]:
        return installed.command(bootstrap, "cx.touchpoints", result, group, str(folder), commit)

    variables = installed.variables
    return asyncio.run(
        run(bootstrap, command, variables, group=group, commits=peer.commits, events=events, limits=limits)
    )


def installed_peers(names: list[str], results: Results) -> list[tuple[Peer, Installed]]:
    """The chosen peers that can be installed; why the others cannot goes into the results."""
    found = []
    for peer in PEERS:
        if peer.name in names:
            try:
                found.append((peer, install(peer, say)))
            except MissingError as error:
                results.failed[peer.name] = f"not installed: {error}"
                say(f"{peer.title}: not installed: {error}")
    return found


def turns(
    peers: list[tuple[Peer, Installed]], runs: int
) -> Iterator[tuple[int, Peer | None, Installed | None]]:
    """Who runs when: cxstream first in each round, and peers in alternating order."""
    for number in range(runs):
        yield number, None, None
        yield from ((number, *each) for each in (peers if number % 2 == 0 else peers[::-1]))


def fill(bootstrap: str, events: int, customers: int) -> None:
    """Write the log. Records that must be rejected would end some peers."""
    asyncio.run(ensure_topics(Settings(kafka=bootstrap), partitions=PARTITIONS))
    options = ["--events", str(events), "--customers", str(customers), "--broken", "0", "--quiet"]
    subprocess.run(
        [*CXSTREAM, "simulate", "--kafka", bootstrap, *options], check=True, stdout=subprocess.DEVNULL
    )
    asyncio.run(forget(bootstrap))


def measure(args: argparse.Namespace, results: Results) -> None:
    """Run all rounds; what fails is noted, and the others go on."""
    peers = installed_peers(args.only, results)
    limits = Limits(args.start_seconds, args.seconds)
    stamp = f"{time.time():.0f}"
    say("loading kernels; the first time they are compiled, which takes minutes ...")
    compile_kernels()
    with LocalKafka(say=say) as kafka:
        say(f"writing {args.events:,} touchpoints of {args.customers:,} customers ...")
        fill(kafka.bootstrap, args.events, args.customers)
        for number, peer, installed in turns(peers, args.runs):
            name = peer.name if peer else OURS
            group = f"{name}-{number}"
            try:
                if peer and installed:
                    rate = peer_rate(kafka.bootstrap, peer, installed, group, args.events, limits)
                else:
                    rate = cxstream(kafka.bootstrap, group, args.events, limits)
                results.add(name, f"{stamp}-{number}", rate)
                say(f"round {number + 1} of {args.runs}  {name:10} {rate:>12,.0f} events/s")
            except (FailedError, OSError, CxstreamError, subprocess.SubprocessError) as error:
                results.failed[name] = str(error)
                say(f"round {number + 1} of {args.runs}  {name:10} failed: {error}")
            asyncio.run(forget(kafka.bootstrap))


def machine() -> str:
    """Processor, system and Python, in a line."""
    model = platform.processor() or platform.machine()
    file = Path("/proc/cpuinfo")
    if file.exists():
        names = [
            line.partition(":")[2].strip() for line in file.read_text().splitlines() if "model name" in line
        ]
        model = f"{len(names)} cores of {names[0]}" if names else model
    return f"cxstream {__version__}, Python {platform.python_version()}, {platform.system()} {platform.release()}, {model}"


def options() -> argparse.ArgumentParser:
    """What can be said on the command line."""
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(names), help="peers, with commas between (default: all)")
    parser.add_argument("--runs", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--events", type=int, default=2_000_000, help="in the log (default: %(default)s)")
    parser.add_argument("--customers", type=int, default=50_000, help="in the log (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=20, help="of measuring in a run (default: %(default)s)"
    )
    parser.add_argument(
        "--start-seconds",
        type=float,
        default=120,
        help="for the first events of a run (default: %(default)s)",
    )
    parser.add_argument(
        "--results", type=Path, help="file that keeps the rates; if it exists, the table has those in it, too"
    )
    return parser


def main() -> int:
    parser = options()
    args = parser.parse_args()
    known = [peer.name for peer in PEERS]
    args.only = [name for name in args.only.split(",") if name]
    if unknown := [name for name in args.only if name not in known]:
        parser.error(f"--only: {', '.join(unknown)}: not among {', '.join(known)}")
    if min(args.runs, args.events, args.customers) < 1:
        parser.error("--runs, --events and --customers: at least 1")
    results = Results()
    if args.results and args.results.exists():
        results = Results(**json.loads(args.results.read_text("utf-8")))
    status = 0
    try:
        measure(args, results)
    except KeyboardInterrupt:
        say("\ninterrupted: the table has what was measured until now")
        status = 130
    if args.results:
        args.results.write_text(json.dumps({"rates": results.rates, "failed": results.failed}), "utf-8")
    rows = [(OURS, f"**cxstream {__version__}**", DOES)]
    rows += [
        (peer.name, peer.title, peer.does) for peer in PEERS if peer.name in {*args.only, *results.rates}
    ]
    print(f"\n{machine()}; {args.events:,} events of {args.customers:,} customers, {PARTITIONS} partitions\n")
    print(markdown(results, rows))
    return status


if __name__ == "__main__":
    sys.exit(main())
