"""Spark, in the manner of the platform's sample script: cut at `}{`, parse nine fields, write Parquet.

Usage: spark-submit spark_peer.py MAIN_STREAM OUTPUT_FOLDER
"""

import sys
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as f
from pyspark.sql.types import LongType, StringType, StructType

ORG_ID = "tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be"
SCHEMA = StructType()
for name in ["event_id", "cid", "org_id", "event_type", "domain"]:
    SCHEMA.add(name, StringType())
for name in ["schema_version", "arrival_epoch"]:
    SCHEMA.add(name, LongType())
for name in ["timestamp", "data"]:
    SCHEMA.add(name, StringType())


def main():
    main_stream, output = sys.argv[1:]
    spark = SparkSession.builder.getOrCreate()
    for day in sorted(Path(main_stream).glob("*/*/*")):
        objects = spark.read.text(f"{day}/*", wholetext=True)
        # All within the JVM; a Python function for each event would cost more.
        events = objects.select(f.explode(f.split("value", r"(?<=\})(?=\{)")).alias("event"))
        rows = events.select(f.from_json("event", SCHEMA).alias("row")).select("row.*")
        date = "-".join(day.parts[-3:])
        rows.write.parquet(f"{output}/execution_id=bench/org_id={ORG_ID}/date={date}", compression="zstd")
    spark.stop()


main()
