"""What docstrings align by spaces stays aligned on the site: shown as it is, not as a paragraph."""

import re
from typing import Any

from griffe import Extension, Object

_ALIGNED = re.compile(r"\S {2,}\S")
_BLANK = re.compile(r"\n\s*\n")


class Columns(Extension):
    """Puts paragraphs that have columns between fences."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = "\n\n".join(map(_shown, _BLANK.split(obj.docstring.value)))


def _shown(paragraph: str) -> str:
    code = paragraph.startswith(" ")  # is shown as it is already
    return f"```text\n{paragraph}\n```" if _ALIGNED.search(paragraph) and not code else paragraph
