"""A CSV file with a header, whose bad cells are named by file, line and column.

file = CsvFile(path)
file.expect_columns("Time", "TIMESTAMP")
times_ns = file.times_ns("Time")
count = file.whole_numbers("TIMESTAMP")
file.check("TIMESTAMP", count < 10**6, "fewer than a million")
"""

import csv
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from marlserve.traces import utc

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[0-9]{1,15}")


class CsvFile:
    """The cells of a file as text; the readers make arrays [n] of a column.

    Attributes:
        path: of the file.
        header: names of the columns, in order.

    Raises:
        ValueError: for an empty file, one with nothing after the header, a column that is named
            twice, and a line with more or fewer cells than the header; it names file and line.
        OSError: if the file cannot be read.
    """

    def __init__(self, path: str | Path):
        self.path = path
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as lines:
            reader = csv.reader(lines)
            try:
                rows = list(reader)
            except csv.Error as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
        self.header = tuple(rows[0]) if rows else ()
        if len(rows) < 2:
            raise ValueError(f"{path}: {len(rows)} lines; expected a header and rows after it")
        if len(set(self.header)) < len(self.header):
            raise ValueError(f"{path}, line 1: {self.header} names a column twice")
        lengths = list(map(len, rows))
        if lengths.count(len(self.header)) < len(rows):
            line = next(i for i, length in enumerate(lengths, 1) if length != lengths[0])
            raise ValueError(
                f"{path}, line {line}: {','.join(rows[line - 1])[:80]!r}; "
                f"expected {lengths[0]} columns, {','.join(self.header)}"
            )
        self._cells = dict(zip(self.header, zip(*rows[1:], strict=True), strict=True))

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
        cells = self._cells[name]
        try:
            times_ns = utc.epoch_ns(cells)
        except ValueError:
            row = next(i for i, cell in enumerate(cells) if not _is_time(cell))
            raise self.error(name, row, utc.EXPECTED) from None
        gaps_ns = np.diff(times_ns, prepend=times_ns[0] - 1)
        self.check(name, gaps_ns >= 0, "a time that is not before the one in the line above")
        if not repeats:
            self.check(name, gaps_ns > 0, "a time that is later than the one in the line above")
        return times_ns

    def numbers(self, name: str) -> np.ndarray:
        """Finite numbers, [n] float64."""
        values = self._parsed(name, _NUMBER, float, "a finite number")
        self.check(name, np.isfinite(values), "a finite number")
        return values

    def whole_numbers(self, name: str) -> np.ndarray:
        """Non-negative whole numbers, [n] int64."""
        return self._parsed(name, _WHOLE, int, "a non-negative whole number")

    def check(self, name: str, good: np.ndarray, expected: str) -> None:
        """Every row of a column is `good` [n], or ValueError says which is not."""
        if not good.all():
            raise self.error(name, int(np.argmin(good)), expected)

    def error(self, name: str, row: int, expected: str) -> ValueError:
        """To be raised for a cell; rows count from 0."""
        cell = self._cells[name][row][:80]
        return ValueError(
            f"{self.path}, line {row + 2}, column {name}: {cell!r}; expected {expected}"
        )

    def _parsed(
        self, name: str, pattern: re.Pattern, parse: Callable[[str], float], expected: str
    ) -> np.ndarray:
        cells = self._cells[name]
        matches: Iterable = list(map(pattern.fullmatch, cells))
        if None in matches:
            raise self.error(name, matches.index(None), expected)
        return np.array(list(map(parse, cells)))


def _is_time(cell: str) -> bool:
    try:
        utc.epoch_ns([cell])
    except ValueError:
        return False
    return True
