"""CSV in the form of BurstGPT: seconds, tokens, and in newer files sessions."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from marlserve.traces.csv_file import CsvFile
from marlserve.traces.llm_requests.requests import LLMRequests

HEADER = ("Timestamp", "Request tokens", "Response tokens")  # what is read; there are others


def parse(path: str | Path, keep_failures: bool) -> LLMRequests:
    """The requests in the file at `path`; options and errors as of the package."""
    file = _File(path)
    time_s = file.numbers("Timestamp")
    file.check("Timestamp", time_s >= 0.0, "non-negative seconds")
    in_order = np.append(True, time_s[1:] >= time_s[:-1])
    file.check("Timestamp", in_order, "a time that is not before the one in the line above")
    columns = {
        "time_s": time_s,
        "prompt_tokens": file.whole_numbers("Request tokens"),
        "output_tokens": file.whole_numbers("Response tokens"),
        "session": file.sessions(),
    }
    answered = columns["output_tokens"] > 0
    if not keep_failures:
        columns = {name: column[answered] for name, column in columns.items()}
    if not len(columns["time_s"]):
        raise file.error("Response tokens", 0, "a number above 0 in some row, or keep_failures")
    first_s, last_s = columns["time_s"][[0, -1]]
    return LLMRequests(columns, float(np.nextafter(last_s, np.inf)), float(first_s))


class _File(CsvFile):
    def sessions(self) -> np.ndarray:
        """A number from 0 on for each text in the column Session ID, -1 for none, [n] int64."""
        if "Session ID" not in self.header:
            return np.full(len(self._cells["Timestamp"]), -1)
        named = pc.if_else(
            pc.equal(self._cells["Session ID"], b""), None, self._cells["Session ID"]
        )
        numbers = named.combine_chunks().dictionary_encode().indices
        return numbers.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False)
