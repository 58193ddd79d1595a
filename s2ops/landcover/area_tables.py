"""Small tables to a file: CSV, or Parquet where the extra `tables` is installed."""

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

from s2ops.errors import ConfigError
from s2ops.landcover.areas import Row

_NAMES = tuple(one.name for one in fields(Row))


def as_csv(rows: Sequence[Row]) -> str:
    """With a line of names; an absent value is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_NAMES)
    writer.writerows(astuple(row) for row in rows)
    return text.getvalue()


def as_parquet(rows: Sequence[Row]) -> bytes:
    """Text columns and doubles; an absent value is null."""
    try:
        from arro3 import core  # noqa: PLC0415 -- an extra
        from arro3.io import write_parquet  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("Parquet needs another package: pip install 's2ops[tables]', or write .csv") from error
    columns = zip(*(astuple(row) for row in rows), strict=True)
    types = {"name": core.DataType.string(), "kind": core.DataType.string()}
    table = core.Table.from_pydict(
        {
            name: core.Array(list(values), types.get(name, core.DataType.float64()))
            for name, values in zip(_NAMES, columns, strict=True)
        }
    )
    out = io.BytesIO()
    write_parquet(table, out)
    return out.getvalue()


def write(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as the file's ending says."""
    makers = {".csv": lambda: as_csv(rows).encode(), ".parquet": lambda: as_parquet(rows)}
    if path.suffix not in makers:
        raise ConfigError(f"cannot write {path}: name a file that ends in .csv or .parquet")
    data = makers[path.suffix]()
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
