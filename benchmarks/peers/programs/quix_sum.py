"""The sum of waiting of each customer and day as a StreamingDataFrame of Quix Streams, exactly once.

python quix_sum.py BOOTSTRAP SOURCE RESULT GROUP FOLDER SECONDS_BETWEEN_COMMITS
"""

import sys
from datetime import datetime, timedelta

from quixstreams import Application
from quixstreams.dataframe.windows import Sum

BOOTSTRAP, SOURCE, RESULT, GROUP, FOLDER, COMMIT = sys.argv[1:7]

app = Application(
    broker_address=BOOTSTRAP,
    consumer_group=GROUP,
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_interval=float(COMMIT),
    state_dir=FOLDER,
    loglevel="ERROR",
)


def event_time(value, headers, timestamp, timestamp_type):
    return int(datetime.fromisoformat(value["time"]).timestamp() * 1000)


touchpoints = app.topic(
    SOURCE, key_deserializer="str", value_deserializer="json", timestamp_extractor=event_time
)
sums = app.topic(RESULT, key_serializer="str", value_serializer="json")
waiting = app.dataframe(touchpoints).apply(lambda value: {"wait_s": value["data"].get("wait_s") or 0.0})
waiting = (
    waiting.tumbling_window(timedelta(days=1), grace_ms=timedelta(hours=1)).agg(sum=Sum("wait_s")).final()
)
waiting.to_topic(sums)

if __name__ == "__main__":
    app.run()
