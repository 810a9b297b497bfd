"""Everything that a run imports, imported once: processes forked from here begin with their work instead of seconds of imports."""

import pyspark.sql.connect.session  # noqa: F401

import streaming.landing  # noqa: F401
