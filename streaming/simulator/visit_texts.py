"""The words of visits and of what tasks bring back, as visit_phrases.yml has them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def phrases() -> Mapping[str, Any]:
    """The rules by symbol, and the stock texts of who writes the same each time."""
    document: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("visit_phrases.yml").read_text(encoding="utf-8"))
    return document
