"""What a reply tells as it passes: when its tokens come, and how many an engine says there were.

Nothing is changed. Of a stream (server-sent events) each line of data counts as a token; what the
engine says of its `usage`, if it does, counts for more.
"""

import re

_DATA = b"\ndata:"
_TAIL = 1024  # bytes in which usage is looked for
_USAGE = re.compile(rb'"(prompt_tokens|completion_tokens|cached_tokens)"\s*:\s*(\d{1,12})')
_DONE = re.compile(rb"\ndata: ?\[DONE\]")


class Reply:
    """Of one request.

    Attributes:
        is_stream: whether its content type says so.
        events: lines of data so far.
    """

    def __init__(self, headers: list[tuple[bytes, bytes]]):
        kind = next((value for name, value in headers if name == b"content-type"), b"")
        self.is_stream, self.events = kind.startswith(b"text/event-stream"), 0
        self._tail = b"\n"

    def add(self, chunk: bytes) -> int:
        """Some of it; how many lines of data began in it."""
        if not self.is_stream:
            self._tail = (self._tail + chunk)[-_TAIL:] if len(chunk) < _TAIL else chunk[-_TAIL:]
            return 0
        begins = len(_DATA) - 1  # of a line that was begun in the last chunk
        new = (self._tail[-begins:] + chunk).count(_DATA)
        self._tail = (self._tail + chunk)[-_TAIL:]
        self.events += new
        return new

    def usage(self) -> dict[str, int]:
        """Of all of it: "prompt_tokens", "completion_tokens", "cached_tokens", as far as told."""
        return {name.decode(): int(number) for name, number in _USAGE.findall(self._tail)}

    def output_tokens(self, usage: dict[str, int]) -> int:
        """Of all of it: as told by its usage, or by lines of data."""
        told = usage.get("completion_tokens")
        if told is not None:
            return told
        return self.events - len(_DONE.findall(self._tail))
