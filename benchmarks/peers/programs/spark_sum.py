"""The sum of waiting of each customer and day as a query of Spark Structured Streaming.

python spark_sum.py BOOTSTRAP SOURCE RESULT GROUP FOLDER SECONDS_BETWEEN_COMMITS

Spark keeps offsets in its checkpoint. The progress of the query says how many rows each committed batch has read.
"""

import os
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.functions import coalesce, col, from_json, lit, struct, to_json, window
from pyspark.sql.functions import sum as total

BOOTSTRAP, SOURCE, RESULT, _GROUP, FOLDER, COMMIT = sys.argv[1:7]

spark = (
    SparkSession.builder.master("local[2]")
    .config(
        "spark.jars",
        ",".join(map(str, Path(os.environ["PEER_JARS"]).iterdir())),
    )
    .config("spark.sql.shuffle.partitions", 4)
    .config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config(
        "spark.sql.streaming.stateStore.providerClass",
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    )
    .config("spark.sql.warehouse.dir", f"{FOLDER}/warehouse")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
source = (
    spark.readStream.format("kafka")
    .option("kafka.bootstrap.servers", BOOTSTRAP)
    .option("subscribe", SOURCE)
    .option("startingOffsets", "earliest")
    .option("maxOffsetsPerTrigger", 200_000)
    .load()
)
schema = "subject STRING, time TIMESTAMP, data STRUCT<wait_s: DOUBLE>"
events = source.select(from_json(col("value").cast("string"), schema).alias("e")).select(
    "e.subject", "e.time", coalesce(col("e.data.wait_s"), lit(0.0)).alias("wait_s")
)
sums = (
    events.withWatermark("time", "1 hour")
    .groupBy(window("time", "1 day"), "subject")
    .agg(total("wait_s").alias("sum"))
    .select(col("subject").alias("key"), to_json(struct("window.start", "sum")).alias("value"))
)
query = (
    sums.writeStream.format("kafka")
    .option("kafka.bootstrap.servers", BOOTSTRAP)
    .option("topic", RESULT)
    .option("checkpointLocation", f"{FOLDER}/checkpoint")
    .outputMode("append")
    .start()
)
done, batch = 0, -1
while query.isActive:
    for progress in query.recentProgress:
        if progress["batchId"] > batch and progress["numInputRows"]:
            batch = progress["batchId"]
            done += progress["numInputRows"]
            print("done", done, time.monotonic(), flush=True)
    time.sleep(0.1)
query.awaitTermination()
