"""GB/T 17710 (ISO/IEC 7064) MOD 11,10."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_jobs.resolve.check_digit import check_digit

DIGITS = st.lists(st.integers(0, 9), min_size=1, max_size=20)


def _valid(code: list[int]) -> bool:
    """The standard's own test of a whole code: the running value over all digits, the last one added in, is 1 modulo 10."""
    product = 10
    for digit in code[:-1]:
        total = (product + digit) % 10 or 10
        product = total * 2 % 11
    return (product + code[-1]) % 10 == 1


# A Chinese business registration number (GS 15-2006, which follows GB/T 17710), and a German tax number, which uses the same system.
@pytest.mark.parametrize(("digits", "expected"), [("11010800000001", 6), ("3657426180", 9)])
def test_published_codes_have_the_published_check_digit(digits: str, expected: int) -> None:
    assert check_digit(int(d) for d in digits) == expected


@given(DIGITS)
def test_every_code_with_its_check_digit_passes_the_test_of_the_standard(digits: list[int]) -> None:
    assert _valid([*digits, check_digit(digits)])


@given(DIGITS, st.data())
def test_one_wrong_digit_is_always_noticed(digits: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(digits) - 1))
    wrong = data.draw(st.integers(0, 9).filter(lambda d: d != digits[place]))
    assert check_digit([*digits[:place], wrong, *digits[place + 1 :]]) != check_digit(digits)
