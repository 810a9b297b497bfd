"""The peer of landing from Kafka: Spark Structured Streaming reads the topic, checks each record, and appends to Delta.

    spark-submit structured_streaming.py <bootstrap> <topic> <codes.json> <folder>

The rules are those that the planted records break, as one expression a rule; accepted and refused rows go to one table with the names of the broken
rules, which is less work than two. Nothing is sealed, redacted or looked up among earlier rows: the peer is given less to do.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name every PySpark reader knows

_TIMES = ("occurred_at", "reported_at", "deadline_at", "closed_at", "changed_at")
_TEXT = (
    *("event_id", "class_code", "level_code", "description", "region_code", "grid_id", "address", "state_code", "channel_code"),
    *("organisation_name", "closing_note", "reporter_member_id", "reporter_name", "reporter_phone", *_TIMES),
)
_SCHEMA = ", ".join([*(f"{name} string" for name in _TEXT), "longitude double", "latitude double", "source_version bigint"])
_REQUIRED = ("event_id", "class_code", "level_code", "region_code", "occurred_at", "reported_at", "state_code", "source_version")
_TIME = "yyyy-MM-dd HH:mm:ss"


def main(bootstrap: str, topic: str, codes: str, folder: str) -> None:
    """Land what the topic holds now and print {"seconds", "rows", "refused"}; the time is from the start of this process to its last commit."""
    started = time.monotonic()
    listed = json.loads(Path(codes).read_text(encoding="utf-8"))
    spark = SparkSession.builder.getOrCreate()
    source = spark.readStream.format("kafka").option("kafka.bootstrap.servers", bootstrap).option("subscribe", topic)
    records = source.option("startingOffsets", "earliest").option("maxOffsetsPerTrigger", 500_000).load()
    raw = F.col("value").cast("string")
    parsed = records.select(F.from_json(raw, _SCHEMA).alias("row"), raw.alias("raw"), "partition", "offset")
    row = parsed.select("row.*", "raw", "partition", "offset").withColumns({name: F.to_timestamp(name, _TIME) for name in _TIMES})

    def broken(name: str, condition: Column) -> Column:
        return F.when(condition, F.lit(name))

    rules = [
        broken("type/source_version", F.col("source_version").isNull() | F.get_json_object("raw", "$.source_version").cast("bigint").isNull()),
        *(broken(f"required/{name}", F.col(name).isNull()) for name in _REQUIRED[:-1]),
        *(broken(f"code_list/{name}", ~F.col(name).isin(values)) for name, values in listed["codes"].items()),
        broken("region_scope/region_code", ~F.col("region_code").startswith(listed["region_prefix"])),
        broken("pattern/event_id", ~F.col("event_id").rlike(r"^[A-Za-z0-9_\-]+$")),
        broken("reported_after_occurred", F.col("reported_at") < F.col("occurred_at")),
        broken("closed_after_reported", F.col("closed_at") < F.col("reported_at")),
        broken("deadline_after_reported", F.col("deadline_at") < F.col("reported_at")),
        broken("closed_has_time", (F.col("state_code") == "closed") & F.col("closed_at").isNull()),
        broken("position", F.col("longitude").isNull() != F.col("latitude").isNull()),
    ]
    checked = row.withColumn("reasons", F.array_compact(F.array(*rules))).withColumn("digest", F.sha2("raw", 256)).drop("raw")
    writing = checked.writeStream.format("delta").option("checkpointLocation", f"{folder}/checkpoint").trigger(availableNow=True)
    query = writing.start(f"{folder}/events")
    query.awaitTermination()
    seconds = time.monotonic() - started
    landed = spark.read.format("delta").load(f"{folder}/events")
    print(json.dumps({"seconds": round(seconds, 2), "rows": landed.count(), "refused": landed.where(F.size("reasons") > 0).count()}))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
