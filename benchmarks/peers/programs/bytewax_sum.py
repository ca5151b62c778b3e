"""The sum of waiting of each customer and day as a dataflow of Bytewax.

python bytewax_sum.py BOOTSTRAP SOURCE RESULT GROUP FOLDER SECONDS_BETWEEN_COMMITS

Bytewax keeps offsets in its own recovery store, so the flow says on standard output how many events it has added.
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

BOOTSTRAP, SOURCE, RESULT, _GROUP, FOLDER, _COMMIT = sys.argv[1:7]
TOLD_EVERY = 1000

done = 0


def read(message):
    event = orjson.loads(message.value)
    return event["subject"], (datetime.fromisoformat(event["time"]), event["data"].get("wait_s") or 0.0)


def add(total, event):
    global done  # noqa: PLW0603
    done += 1
    if done % TOLD_EVERY == 0:
        print("done", done, time.monotonic(), flush=True)
    return total + event[1]


flow = Dataflow("waiting")
source = kop.input("touchpoints", flow, brokers=[BOOTSTRAP], topics=[SOURCE], batch_size=1000)
keyed = op.map("read", source.oks, read)
clock = EventClock(ts_getter=lambda event: event[0], wait_for_system_duration=timedelta(hours=1))
windower = TumblingWindower(length=timedelta(days=1), align_to=datetime(2020, 1, 1, tzinfo=UTC))
sums = win.fold_window("sum", keyed, clock, windower, builder=float, folder=add, merger=lambda a, b: a + b)
messages = op.map("write", sums.down, lambda out: KafkaSinkMessage(out[0].encode(), orjson.dumps(out[1][1])))
kop.output("sums", messages, brokers=[BOOTSTRAP], topic=RESULT)

if __name__ == "__main__":
    store = Path(FOLDER, "recovery")
    store.mkdir()
    init_db_dir(store, 1)
    # Shorter epochs than its default of 10 s make it slower: each saves all customers that have changed.
    cli_main(flow, recovery_config=RecoveryConfig(str(store)))
