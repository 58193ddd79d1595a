"""Export of class areas as tables: CSV, or Parquet if the extra `tables` is installed."""

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

from s2ops.errors import ConfigError
from s2ops.landcover.areas import AreaRow

_COLUMN_NAMES = tuple(one.name for one in fields(AreaRow))


def to_csv(rows: Sequence[AreaRow]) -> str:
    """Convert rows to CSV with a header line; a missing value is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMN_NAMES)
    writer.writerows(astuple(row) for row in rows)
    return text.getvalue()


def to_parquet(rows: Sequence[AreaRow]) -> bytes:
    """Convert rows to Parquet with text and double columns; a missing value is null."""
    try:
        from arro3 import core  # noqa: PLC0415 -- an extra
        from arro3.io import write_parquet  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "Cannot write Parquet: a package is missing; run pip install 's2ops[tables]', or write .csv."
        ) from error
    columns = zip(*(astuple(row) for row in rows), strict=True)
    types = {"name": core.DataType.string(), "kind": core.DataType.string()}
    table = core.Table.from_pydict(
        {
            name: core.Array(list(values), types.get(name, core.DataType.float64()))
            for name, values in zip(_COLUMN_NAMES, columns, strict=True)
        }
    )
    out = io.BytesIO()
    write_parquet(table, out)
    return out.getvalue()


def write_table(rows: Sequence[AreaRow], path: Path) -> None:
    """Write rows to a file, in the format of its suffix."""
    converters = {".csv": lambda: to_csv(rows).encode(), ".parquet": lambda: to_parquet(rows)}
    if path.suffix not in converters:
        raise ConfigError(
            f"Cannot write {path}: its suffix is {path.suffix!r}; name a file that ends in .csv or .parquet."
        )
    data = converters[path.suffix]()
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"Cannot write {path}: {error.strerror}; choose another file.") from error
