"""Parquet files of bounded size, written row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

_SHARD_BYTES, _GROUP_BYTES = 1 << 28, 1 << 24


class Shards:
    """The shards of one split: NAME-00000-of-00002.parquet and so on, at most one of them open.

    Args:
        folder: Where to.
        name: Of the split.
        schema: Columns and metadata of each shard.
    """

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._folder, self._name, self._schema = folder, name, schema
        self._rows: list[dict[str, Any]] = []
        self._held = self._written = 0
        self._writer: pq.ParquetWriter | None = None
        self._paths: list[Path] = []

    def add(self, row: dict[str, Any], size: int) -> None:
        """Add a row whose pictures take `size` bytes."""
        self._rows.append(row)
        self._held += size
        if self._held >= _GROUP_BYTES:
            self._flush()
        if self._written >= _SHARD_BYTES:
            self.close()

    def _flush(self) -> None:
        if self._writer is None:
            self._paths.append(self._folder / f"{self._name}-{len(self._paths):05d}.parquet")
            self._writer = pq.ParquetWriter(self._paths[-1], self._schema, compression="none")  # PNG gets no smaller
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._written += self._held
        self._rows, self._held = [], 0

    def close(self) -> None:
        """Write what is held and finish the open shard."""
        if self._rows:
            self._flush()
        if self._writer is not None:
            self._writer.close()
        self._writer, self._written = None, 0

    def number(self) -> None:
        """Give the finished shards their names, which hold how many there are."""
        for i, path in enumerate(self._paths):
            path.rename(self._folder / f"{self._name}-{i:05d}-of-{len(self._paths):05d}.parquet")
