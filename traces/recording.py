"""The bytes of a recording: a text file in UTF-8, as it is or packed by gzip.

    text = recording.read("code.csv.gz")

Anything else says what it is, before a reader of cells or lines takes it for a bad row.
"""

import gzip
import zlib
from pathlib import Path

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ\x00": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"PAR1": "a Parquet file",
}


def read(path: str | Path) -> bytes:
    """The text of the file at `path`.

    Raises:
        ValueError: for a file that is UTF-16, packed by something else than gzip, a damaged gzip
            file, or binary; it names the file and what was found.
        OSError: if the file cannot be read; FileNotFoundError and IsADirectoryError name it too.
    """
    content = Path(path).read_bytes()
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path} is a damaged gzip file: {error}") from None
    found = next((kind for start, kind in _OTHERS.items() if content.startswith(start)), "")
    if not found and (null := content.find(b"\0")) >= 0:
        found = f"a binary file, or UTF-16: byte {null} is zero"
    if found:
        raise ValueError(f"{path} is {found}; expected text in UTF-8, or that packed by gzip")
    return content
