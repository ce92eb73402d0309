"""What recordings are read with: times, cells that are named when they are bad; and noise."""

from pathlib import Path

import numpy as np
import pytest

from marlserve.traces import csv_file, noise, utc

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
        ("a,b\n1,2,3\n", "line 2: '1,2,3'; expected 2 columns"),
        ("a,b\n" + "x" * 200_000 + ",1\n", "line 2: field larger"),
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
