"""What recordings are read with: times, cells that are named when they are bad; and noise."""

import bz2
import gzip
import lzma
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlserve.traces import csv_file, noise, recording, utc

MONDAY_S = 1_714_953_600.0  # 2024-05-06


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "recording.csv"
        path.write_bytes(text.encode())
        return path

    return write


def test_times_are_utc_since_the_epoch():
    texts = ["1970-01-01 00:00:01", "2024-05-06T00:00:00Z", "2024-05-06 00:00:00.5+00:00"]
    expected = [1_000_000_000, MONDAY_S * 1e9, (MONDAY_S + 0.5) * 1e9]
    np.testing.assert_array_equal(utc.epoch_ns(texts), expected)
    assert utc.epoch_s("start", texts[1]) == MONDAY_S
    other_forms = (
        "2024-05-06 00:00:00-07:00",
        "2024-13-06 00:00:00",
        "06.05.2024",
        "1714953600",
        7,
    )
    for bad in (*other_forms, "0001-01-01 00:00:00", "9999-01-01 00:00:00"):
        with pytest.raises(ValueError, match="start is .*; expected a UTC time such as"):
            utc.epoch_s("start", bad)


def test_noise_has_variance_one_and_its_memory():
    values = noise.autoregressive(np.random.default_rng(3), 200_000, 20.0)
    assert values.mean() == pytest.approx(0.0, abs=4 * np.sqrt(40 / 200_000))
    assert values.var() == pytest.approx(1.0, abs=4 * np.sqrt(2 * 20 / 200_000))
    assert np.corrcoef(values[:-20], values[20:])[0, 1] == pytest.approx(np.exp(-1.0), abs=0.05)
    starts = [noise.autoregressive(np.random.default_rng(i), 1, 20.0)[0] for i in range(2000)]
    assert np.var(starts) == pytest.approx(1.0, abs=4 * np.sqrt(2 / 2000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 lines; expected a header and rows"),
        ("a,b\n", "1 lines; expected a header and rows"),
        ("a,a\n1,2\n", "line 1: .* names a column twice"),
        ("a,b\n1,2\n1\n", "line 3: '1'; expected 2 columns, a,b"),
        ("a,b\n1,2\n\n1,2\n", "line 3: ''; expected 2 columns"),
        ("a,b\n1,2\n,\n", "line 3: ''; expected 2 columns"),
        ('a,b\n1,"2\n' + "3,4\n" * 800_000, "line [0-9]+: field larger"),
        ("a,b\n1,2,3\n", "line 2: '1,2,3'; expected 2 columns"),
        ("a,b\n" + "x" * 3_000_000 + ",1\n", "line 2: field larger"),
    ],
)
def test_a_file_that_is_no_table_is_an_error(write, text, message):
    path = write(text)
    with pytest.raises(ValueError, match=message) as error:
        csv_file.CsvFile(path)
    assert str(path) in str(error.value)


def test_quotes_and_a_byte_order_mark_are_read(write):
    file = csv_file.CsvFile(write('\ufefftime,"what, where"\n1e3,"a, b"\n-.5,c\n'))
    np.testing.assert_array_equal(file.numbers("time"), [1000.0, -0.5])
    assert file.header == ("time", "what, where")


def test_a_bad_cell_is_found_far_down_and_with_any_bytes(tmp_path):
    path = tmp_path / "long.csv"
    rows = [f"2024-05-06 00:00:{i // 1000:02}.{i % 1000:03},{i}\n" for i in range(50_000)]
    rows[33_333] = "2024-02-30 00:00:00,x\n"
    path.write_bytes(b"time,count\n" + "".join(rows).encode().replace(b"x", b"\xff"))
    file = csv_file.CsvFile(path)
    with pytest.raises(ValueError, match="line 33335, column time: '2024-02-30 .* a UTC time"):
        file.times_ns("time")
    with pytest.raises(ValueError, match="line 33335, column count: '\ufffd'; expected a non-neg"):
        file.whole_numbers("count")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a,b\n1,2\n".encode("utf-16"),
            "is UTF-16; expected text in UTF-8, or that packed by gzip",
        ),
        ("a,b\n1,2\n".encode("utf-16-le"), "is a binary file, or UTF-16: byte 1 is zero"),
        (b"PK\x03\x04rest", "is a zip archive"),
        (bz2.compress(b"a,b\n1,2\n"), "is packed by bzip2"),
        (lzma.compress(b"a,b\n1,2\n"), "is packed by xz"),
        (b"\x7fELF\x02\x01\x01\x00", "is a binary file, or UTF-16: byte 7 is zero"),
        (gzip.compress(b"a,b\n1,2\n")[:-9], "is a damaged gzip file"),
        (gzip.compress("a,b\n1,2\n".encode("utf-16")), "is UTF-16"),
    ],
    ids=["utf-16", "utf-16-le", "zip", "bzip2", "xz", "elf", "cut gzip", "utf-16 in gzip"],
)
def test_a_file_that_is_no_text_says_what_it_is(tmp_path, content, message):
    path = tmp_path / "recording.csv"
    path.write_bytes(content)
    for read in (recording.read, csv_file.CsvFile):
        with pytest.raises(ValueError, match=message) as error:
            read(path)
        assert str(path) in str(error.value)


def test_a_gzip_file_is_read_and_its_lines_are_counted(tmp_path):
    path = tmp_path / "recording.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n3,x\n"))
    file = csv_file.CsvFile(path)
    np.testing.assert_array_equal(file.numbers("a"), [1.0, 3.0])
    with pytest.raises(ValueError, match=r"recording.csv.gz, line 3, column b: 'x'; expected"):
        file.numbers("b")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.csv"):
        csv_file.CsvFile(tmp_path / "none.csv")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        csv_file.CsvFile(tmp_path)


# What Python's own number reader says; `[0-9]` of the pattern are ASCII digits.
@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["", "+", "0", "00"]))
def test_numbers_are_the_nearest_ones(value, sign):
    text = repr(value) if value < 0 or repr(value)[0] == "-" else sign + repr(value)
    with TemporaryDirectory() as folder:
        path = Path(folder, "numbers.csv")
        path.write_text(f"a\n{text}\n")
        assert csv_file.CsvFile(path).numbers("a")[0] == float(text)
