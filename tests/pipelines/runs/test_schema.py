"""Columns that came later are null in files from before, and no other column may be missing."""

import io

import pyarrow as pa
import pyarrow.parquet
import pytest

from pipelines.runs.schema import read_stored


def test_a_column_that_came_later_is_null_in_earlier_files() -> None:
    file = io.BytesIO()
    pa.parquet.write_table(pa.table({"detail": ["why"], "score": [1.0]}), file)
    table = read_stored(file, ["extraction_rule", "detail"])
    assert table.to_pylist() == [{"extraction_rule": None, "detail": "why"}]
    with pytest.raises(Exception, match="extracted"):
        read_stored(file, ["extracted"]).select(["extracted"])
