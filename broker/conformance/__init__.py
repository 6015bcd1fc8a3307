"""Suites that say whether a plugin keeps its promises. Shipped, so that authors of other plugins run them too."""

from __future__ import annotations

from broker.conformance.error import ConformanceError
from broker.conformance.nation import Report, check_nation
from broker.conformance.store import check_store

__all__ = ["ConformanceError", "Report", "check_nation", "check_store"]
