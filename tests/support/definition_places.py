"""Places of definition errors as tests of other things write them: file and line."""

from __future__ import annotations

import re

_COLUMN = re.compile(r"(\.ya?ml:\d+):\d+(?=:)")


def without_columns(text: str) -> str:
    """Leave the columns out of a text with places such as `x.yaml:5:9:`."""
    return _COLUMN.sub(r"\1", text)
