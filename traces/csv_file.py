"""A CSV file with a header, whose bad cells are named by file, line and column.

file = CsvFile(path)
file.expect_columns("Time", "TIMESTAMP")
times_ns = file.times_ns("Time")
count = file.whole_numbers("TIMESTAMP")
file.check("TIMESTAMP", count < 10**6, "fewer than a million")

Arrow reads the cells and turns columns into arrays. It is strict about what is a row, but lenient
about what is a number, so patterns say that here; only where something is wrong is it looked for.
"""

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

from marlserve.traces import recording, utc

NUMBER = r"^(?P<value>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)$"
_WHOLE = r"^(?P<value>[0-9]{1,15})$"
_TIME = rf"^(?P<value>{utc.TIME})(?:{utc.ZONE})?$"
_BLOCK_BYTES = 1 << 20  # are read at once; Arrow takes rows that lie in two blocks, not in three


class CsvFile:
    """The cells of a file as text; the readers make arrays [n] of a column.

    Args:
        path: of the file, which may be packed by gzip.
        delimiter: between cells.

    Attributes:
        path: of the file.
        header: names of the columns, in order.
        ends_in_newline: whether the last row is known to be whole.

    Raises:
        ValueError: for an empty file, one with nothing after the header, a column that is named
            twice, a line with more or fewer cells than the header, and a row of megabytes, such as
            one whose quote is not closed; it names file and line. As `recording.read`.
        OSError: if the file cannot be read.
    """

    def __init__(self, path: str | Path, delimiter: str = ","):
        self.path = path
        text = recording.read(path)
        self.ends_in_newline = text.endswith(b"\n")
        first = io.TextIOWrapper(
            io.BytesIO(text[:_BLOCK_BYTES]), "utf-8-sig", "replace", newline=""
        )
        self.header = tuple(next(csv.reader(first, delimiter=delimiter), ()))
        cells = self._rows(text, delimiter) if text else ()
        lines = len(cells[0]) if cells else 0
        if lines < 2:
            raise ValueError(f"{path}: {lines} lines; expected a header and rows after it")
        if len(set(self.header)) < len(self.header):
            raise ValueError(f"{path}, line 1: {self.header} names a column twice")
        rows = [column.slice(1) for column in cells]
        self._cells: dict[str, pa.ChunkedArray] = dict(zip(self.header, rows, strict=True))
        if len(rows) > 1:  # of an empty line, Arrow makes a row of empty cells
            filled = pc.max_element_wise(*(pc.binary_length(column) for column in rows))
            if (row := pc.index(filled, 0).as_py()) >= 0:
                raise self._not_a_row(row + 2, "")

    def _rows(self, text: bytes, delimiter: str) -> tuple[pa.ChunkedArray, ...]:
        """The columns, [lines] with the header."""
        wrong = []

        def keep(row):
            wrong.append(row)
            return "error"

        names = [str(i) for i in range(len(self.header))]
        try:
            table = read_csv(
                io.BytesIO(text),
                # Lines are counted by one thread only.
                ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=names),
                ParseOptions(
                    delimiter=delimiter,
                    newlines_in_values=True,
                    ignore_empty_lines=False,
                    invalid_row_handler=keep,
                ),
                ConvertOptions(
                    check_utf8=False,
                    column_types=dict.fromkeys(names, pa.binary()),
                    strings_can_be_null=False,
                    quoted_strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            if wrong:
                raise self._not_a_row(wrong[0].number, wrong[0].text) from None
            raise self._too_long(text, delimiter, error) from None
        return tuple(table.columns)

    def _not_a_row(self, line: int, text: str) -> ValueError:
        expected = f"expected {len(self.header)} columns, {','.join(self.header)}"
        return ValueError(f"{self.path}, line {line}: {text[:80]!r}; {expected}")

    def _too_long(self, text: bytes, delimiter: str, error: Exception) -> ValueError:
        """Python's reader stops at the same place, and knows the line."""
        lines = io.TextIOWrapper(io.BytesIO(text), "utf-8-sig", "replace", newline="")
        reader = csv.reader(lines, delimiter=delimiter)
        try:
            for _ in reader:
                pass
        except csv.Error as found:
            return ValueError(f"{self.path}, line {reader.line_num}: {found}")
        return ValueError(f"{self.path}: {error}")

    def expect_columns(self, *names: str, others: bool = False) -> None:
        """These columns, in any order, and no `others` unless they are allowed.

        Raises:
            ValueError: naming the header that was found, and the expected one.
        """
        good = set(names) <= set(self.header) if others else set(names) == set(self.header)
        if not good:
            more = ", and possibly others" if others else ""
            raise ValueError(
                f"{self.path}, line 1: the header is {','.join(self.header)[:200]!r}; "
                f"expected the columns {','.join(names)}{more}"
            )

    def times_ns(self, name: str, repeats: bool = False) -> np.ndarray:
        """Nanoseconds since the epoch, [n] int64, in order; equal ones only with `repeats`."""
        times_ns = self._parsed(name, _TIME, pa.timestamp("ns"), utc.EXPECTED).astype(np.int64)
        gaps_ns = np.diff(times_ns, prepend=times_ns[0] - 1)
        self.check(name, gaps_ns >= 0, "a time that is not before the one in the line above")
        if not repeats:
            self.check(name, gaps_ns > 0, "a time that is later than the one in the line above")
        return times_ns

    def numbers(
        self, name: str, pattern: str = NUMBER, expected: str = "a finite number"
    ) -> np.ndarray:
        """Finite numbers, [n] float64: what the group `value` of a pattern (of RE2) finds."""
        values = self._parsed(name, pattern, pa.float64(), expected)
        self.check(name, np.isfinite(values), expected)
        return values

    def whole_numbers(self, name: str) -> np.ndarray:
        """Non-negative whole numbers, [n] int64."""
        return self._parsed(name, _WHOLE, pa.int64(), "a non-negative whole number")

    def check(self, name: str, good: np.ndarray, expected: str) -> None:
        """Every row of a column is `good` [n], or ValueError says which is not."""
        if not good.all():
            raise self.error(name, int(np.argmin(good)), expected)

    def error(self, name: str, row: int, expected: str) -> ValueError:
        """To be raised for a cell; rows count from 0."""
        cell = self._cells[name][row].as_py().decode("utf-8", "replace")[:80]
        return ValueError(
            f"{self.path}, line {row + 2}, column {name}: {cell!r}; expected {expected}"
        )

    def _parsed(self, name: str, pattern: str, kind: pa.DataType, expected: str) -> np.ndarray:
        row, parsed = 0, []
        for cells in self._cells[name].chunks:  # one after the other takes less memory
            found = pc.extract_regex(cells, pattern)
            if found.null_count:
                raise self.error(name, row + pc.index(found.is_null(), True).as_py(), expected)
            texts = pc.struct_field(found, "value").cast(pa.string())
            try:
                parsed.append(texts.cast(kind).to_numpy(zero_copy_only=False))
            except pa.ArrowInvalid:
                raise self.error(name, row + _first_bad(texts, kind), expected) from None
            row += len(cells)
        return np.concatenate(parsed)


def _first_bad(texts: pa.StringArray, kind: pa.DataType) -> int:
    """The first that cannot be cast: one of them cannot."""
    for i in range(len(texts)):
        try:
            texts[i : i + 1].cast(kind)
        except pa.ArrowInvalid:
            return i
    raise AssertionError("every text can be cast")
