"""Unified codes as their issuers build them: grids, standard addresses, enterprises. Check digits are right, divisions of enterprises invented."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streaming.simulator.texts import Texts

# GB 32100-2015 and GB 11714-1997: the characters that a code may have, and the weights of its places.
_UNIFORM = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_UNIFORM_WEIGHTS = np.array([pow(3, place, 31) for place in range(17)])
_ORGANISATION = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ORGANISATION_WEIGHTS = np.array([3, 7, 9, 10, 5, 8, 4, 2])


def closed(stems: Texts) -> Texts:
    """Codes of digits, all of one length, each with the check digit of GB/T 17710 (MOD 11,10) behind it."""
    product = np.full(len(stems), 10)
    for digit in _places(stems, "0123456789").T:
        product = ((product + digit + 9) % 10 + 1) * 2 % 11
    return stems + ((11 - product) % 10).astype(str).astype(object)  # type: ignore[no-any-return]


def grid_codes(grids: pd.DataFrame) -> Texts:
    """The code that each grid of a territory will get: its village, its number in the order of arrival, a check digit."""
    number = grids.groupby("region_code").cumcount().to_numpy() + 1
    return closed(grids.region_code.to_numpy(object) + np.char.zfill(number.astype(str), 3).astype(object))


def address_codes(villages: pd.Series) -> Texts:
    """Standard address codes: village, seven digits counted within it, a check digit."""
    number = villages.groupby(villages).cumcount().to_numpy() + 1
    return closed(villages.to_numpy(object) + np.char.zfill(number.astype(str), 7).astype(object))


def uniform_social_credit_codes(random: np.random.Generator, kinds: Texts) -> Texts:
    """Different codes of 18 characters; `kinds` has each one's second character (1 company, 2 self-employed, 3 farmers' cooperative).

    The division 3399 was never issued, so no code can belong to anybody.
    """
    count = len(kinds)
    numbers = random.choice(10**8, size=count, replace=False)
    body = np.char.zfill(numbers.astype(str), 8).astype(object)
    check = (11 - _places(body, _ORGANISATION) @ _ORGANISATION_WEIGHTS % 11) % 11
    organisation = body + np.array([*"0123456789X"], object)[check]
    division = (339901 + random.integers(20, size=count)).astype(str).astype(object)
    stems = "9" + kinds + division + organisation
    closing = (31 - _places(stems, _UNIFORM) @ _UNIFORM_WEIGHTS % 31) % 31
    return stems + np.array([*_UNIFORM], object)[closing]  # type: ignore[no-any-return]


def _places(codes: Texts, alphabet: str) -> NDArray[np.int64]:
    """Each character's number in the alphabet: one row a code, one column a place."""
    if not len(codes):
        return np.empty((0, 1), np.int64)
    characters = codes.astype(str)
    points = characters.view(np.uint32).reshape(len(codes), -1)
    number = np.zeros(128, np.int64)
    number[[ord(c) for c in alphabet]] = np.arange(len(alphabet))
    found: NDArray[np.int64] = number[points]
    return found
