"""The docs say what is there."""

from pathlib import Path

import roastery.ops  # noqa: F401  (defines the operators)
from roastery.caffe2.operators import table
from roastery.ops.definition import operators

ROOT = Path(__file__).parent.parent


def test_the_operators_page_lists_every_operator_that_converts() -> None:
    page = (ROOT / "docs" / "operators.md").read_text()
    missing = [name for name in [*table(), *operators()] if f"`{name}`" not in page]
    assert missing == []
