"""Cells as Markdown, for all tables that are written to files."""

from collections.abc import Sequence


def markdown_lines(
    header: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str] | None = None
) -> str:
    """Cells as a Markdown table, without a newline at its end.

    Args:
        header: of the columns.
        rows: as long as the header.
        align: "---" or "---:" (to the right) for every column; all "---" by default.
    """
    lines = (header, align or ["---"] * len(header), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
