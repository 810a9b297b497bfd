"""Everything that a run imports, imported once: processes forked from here begin with their work instead of seconds of imports."""

from importlib import import_module

for _name in (
    "dbt.adapters.spark",
    "dbt.cli.main",
    "great_expectations.expectations",
    "pysail.spark",
    "pyspark.sql.connect.session",
    "gridlake.cli",
    "gridlake.quality",
    "gridlake.transform",
    "serving.publish",
    "serving.reports",
    "spark_jobs.detect",
    "spark_jobs.resolve",
    "streaming.kafka.command",
    "streaming.kafka.lander",
    "streaming.kafka.python_reader",
    "streaming.landing",
):
    import_module(_name)
