"""Positions in the coordinate system of whoever sends them: the cities' maps are in GCJ-02, the departments' in CGCS2000."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_AXIS, _SQUARED_ECCENTRICITY = 6378245.0, 0.00669342162296594323


def to_cgcs2000(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """GCJ-02 positions in China as CGCS2000, rounded to six decimals: the public formula's shift where the point seems to be, then where it lies."""
    east, north = _shift(longitude, latitude)
    east, north = _shift(longitude - east, latitude - north)
    return np.round(longitude - east, 6), np.round(latitude - north, 6)


def _shift(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far GCJ-02 moves a point of CGCS2000, in degrees east and north."""
    x, y, pi = longitude - 105.0, latitude - 35.0, np.pi
    ripple = (20 * np.sin(6 * x * pi) + 20 * np.sin(2 * x * pi)) * 2 / 3
    east = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * np.sqrt(np.abs(x)) + ripple
    east += (20 * np.sin(x * pi) + 40 * np.sin(x / 3 * pi)) * 2 / 3 + (150 * np.sin(x / 12 * pi) + 300 * np.sin(x / 30 * pi)) * 2 / 3
    north = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * np.sqrt(np.abs(x)) + ripple
    north += (20 * np.sin(y * pi) + 40 * np.sin(y / 3 * pi)) * 2 / 3 + (160 * np.sin(y / 12 * pi) + 320 * np.sin(y * pi / 30)) * 2 / 3
    radians = latitude / 180 * pi
    magic = 1 - _SQUARED_ECCENTRICITY * np.sin(radians) ** 2
    meridian = _AXIS * (1 - _SQUARED_ECCENTRICITY) / (magic * np.sqrt(magic)) * pi
    parallel = _AXIS / np.sqrt(magic) * np.cos(radians) * pi
    return east * 180 / parallel, north * 180 / meridian
