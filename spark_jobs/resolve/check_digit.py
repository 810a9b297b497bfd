"""The check digit of GB/T 17710-2008 (ISO/IEC 7064), system MOD 11,10, for codes made of digits."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pyspark.sql import Column

# The same two steps run over integers and, as lambdas of `aggregate`, over Spark columns of integers.
Number = TypeVar("Number", int, "Column")
START = 10


def running(product: Number, digit: Number) -> Number:
    """The standard's running product after one more digit: the sum modulo 10 with 0 read as 10, doubled, modulo 11."""
    return ((product + digit + 9) % 10 + 1) * 2 % 11


def closing(product: Number) -> Number:
    """The digit that closes a code whose running product is this."""
    return (11 - product) % 10


def check_digit(digits: Iterable[int]) -> int:
    """The digit that goes behind `digits`."""
    product: int = reduce(running, digits, START)
    return int(closing(product))
