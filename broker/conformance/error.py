"""What a conformance suite raises."""

from __future__ import annotations


class ConformanceError(AssertionError):
    """A promise is not kept; the text names it and says what was seen."""
