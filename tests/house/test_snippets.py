"""What README.md and docs/*.md show in Python runs, as it stands there.

The blocks of a file are one program, in an empty folder. Before a block that cannot run, an HTML
comment says why, `<!-- not run: needs a gateway that listens -->`, on the line above it.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>[^\n]+) -->\n)?"
    r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```",
    re.MULTILINE | re.DOTALL,
)


def program(page: str) -> str:
    """The blocks that run, each at the lines where it stands, so that an error tells the line."""
    lines = [""] * (page.count("\n") + 1)
    for block in BLOCK.finditer(page):
        if block["reason"] is None:
            first = page.count("\n", 0, block.start("code"))
            for i, line in enumerate(block["code"].splitlines(), first):
                lines[i] = line.removeprefix(block["indent"])
    return "\n".join(lines)


def test_a_program_has_the_blocks_at_their_lines_but_for_those_with_a_reason():
    page = (
        "Text\n```python\na = 1\n```\n<!-- not run: slow -->\n```python\nb = 2\n```\n"
        "- an item\n  ```python\n  c = 3\n  if c:\n      d = 4\n  ```\n```sh\nls\n```\n"
    )
    assert program(page) == "\n\na = 1\n" + 7 * "\n" + "c = 3\nif c:\n    d = 4\n\n\n\n\n"


def test_the_readme_shows_how_to_use_it_from_python():
    assert program(PAGES[0].read_text()).strip()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page", [x for x in PAGES if program(x.read_text()).strip()], ids=lambda page: page.name
)
def test_the_snippets_of_a_page_run(page, tmp_path):
    script = tmp_path / f"{page.stem}.py"
    script.write_text(program(page.read_text()))
    folder = tmp_path / "empty"
    folder.mkdir()
    done = subprocess.run([sys.executable, script], cwd=folder, text=True, capture_output=True)
    assert done.returncode == 0, f"{page.relative_to(ROOT)}:\n{done.stderr[-3000:]}"
