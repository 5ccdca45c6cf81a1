"""Rows into files of one part: ``data/train-00000-of-00003.parquet`` or ``.jsonl``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.export.columns import arrow_schema, load_pyarrow
from analysis.export.formats import Format, Row

# What is in memory at a time, and a row group of a Parquet file:
BATCH_ROWS = 256
BATCH_CHARS = 4_000_000


@dataclass(frozen=True, slots=True)
class Written:
    """A part as the card describes it: rows, bytes in memory, bytes of its files."""

    part: str
    rows: int
    bytes: int
    file_bytes: int
    files: int


class Part:
    """Writes one part, ``shard`` rows to a file; the files get their names when it is closed."""

    def __init__(self, folder: Path, name: str, form: Format, shard: int) -> None:
        self.rows = 0
        self._folder, self._name, self._form, self._shard = folder, name, form, shard
        self._batch: list[Row] = []
        self._chars = 0  # of text in it
        self._bytes = 0
        self._paths: list[Path] = []
        self._file: Any = None
        self._in_file = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; its columns are put into the format's order."""
        self._batch.append({name: row[name] for name in self._form.columns})
        self._chars += _chars(row)
        self.rows += 1
        self._in_file += 1
        full = self._in_file == self._shard
        if full or len(self._batch) == BATCH_ROWS or self._chars > BATCH_CHARS:
            self._flush()
        if full:
            self._end_file()

    def close(self) -> Written:
        """Finish the files, and name them by how many they are."""
        self._flush()
        self._end_file()
        total = len(self._paths)
        size = 0
        for number, path in enumerate(self._paths):
            size += path.stat().st_size
            suffix = self._form.suffix
            path.rename(path.with_name(f"{self._name}-{number:05d}-of-{total:05d}.{suffix}"))
        return Written(self._name, self.rows, self._bytes, size, total)

    def abandon(self) -> None:
        """Close what is open; the files aren't whole."""
        self._batch.clear()
        self._end_file()

    def _flush(self) -> None:
        if not self._batch:
            return
        if self._file is None:
            self._file = self._open()
        if self._form.suffix == "jsonl":
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self._batch)
            self._bytes += self._file.write(text.encode())
        else:
            pa = load_pyarrow()
            schema = arrow_schema(pa, self._form.columns)
            batch = pa.RecordBatch.from_pylist(self._batch, schema=schema)
            self._file.write_batch(batch)
            self._bytes += batch.nbytes
        self._batch.clear()
        self._chars = 0

    def _open(self) -> Any:
        path = self._folder / f"{self._name}-{len(self._paths):05d}.part"
        self._paths.append(path)
        if self._form.suffix == "jsonl":
            return open(path, "wb")
        pa = load_pyarrow()
        return pa.parquet.ParquetWriter(path, arrow_schema(pa, self._form.columns))

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._in_file = None, 0


def _chars(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    inner = value.values() if isinstance(value, Mapping) else value
    return sum(map(_chars, inner)) if isinstance(value, Mapping | list) else 0
