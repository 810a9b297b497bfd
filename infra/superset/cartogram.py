"""The map of counties: one hexagon each, near where the county lies and beside its neighbours, or the outlines that a user supplies.

Outlines of the counties are nobody's that we may ship; a hexagon is as large for a small district as for a large county.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

# Of a cell's room, what its hexagon covers: the rest parts it from the next.
_FILLED = 0.95
# Cells offered for each county, so that coasts and bays keep their shape.
_ROOM = 1.6
# What it costs that two neighbours are not side by side, in squared cells of distance.
_APART = 1.5
_CODE_PROPERTIES = ("ISO", "region_code", "adcode", "code", "id")


class OutlineError(ValueError):
    """A file of outlines that cannot be used; the message says what it lacks."""


def hexagons(places: Sequence[tuple[str, str, float, float]], neighbours: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """GeoJSON of one hexagon for each place (code, name, longitude, latitude in degrees); the same places give the same text."""
    places = sorted(places)
    if not places:
        return {"type": "FeatureCollection", "features": []}
    middle = sum(latitude for *_, latitude in places) / len(places)
    flat = math.cos(math.radians(middle))
    points = np.array([(longitude * flat, latitude) for _, _, longitude, latitude in places])
    radius, cells = _cells(points)
    chosen = _settled(points, cells, radius, _pairs(places, neighbours))
    features = []
    for (code, name, *_), (x, y) in zip(places, cells[chosen], strict=True):
        # Clockwise: the map takes a ring in the other direction for all the world around it.
        ring = [(x + _FILLED * radius * math.sin(math.pi / 3 * corner), y + _FILLED * radius * math.cos(math.pi / 3 * corner)) for corner in range(7)]
        coordinates = [[round(float(a) / flat, 4), round(float(b), 4)] for a, b in ring]
        features.append(_feature(code, name, {"type": "Polygon", "coordinates": [coordinates]}))
    return {"type": "FeatureCollection", "features": features}


def outlines(path: Path, names: Mapping[str, str]) -> dict[str, Any]:
    """A user's GeoJSON as the map reads it: features whose code (12 digits, or the first 6) is one of `names`.

    Raises OutlineError where no feature is.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    short = {code[:6]: code for code in names}
    features = []
    for feature in document.get("features", ()):
        said = [str(feature.get("properties", {}).get(name, "")) for name in _CODE_PROPERTIES] + [str(feature.get("id", ""))]
        code = next((c if c in names else short[c] for c in said if c in names or c in short), None)
        if code:
            features.append(_feature(code, names[code], _clockwise(feature["geometry"])))
    if not features:
        expected = f"features with a county's code in one of the properties {', '.join(_CODE_PROPERTIES)}"
        raise OutlineError(f"{path}: expected {expected}, found none of {len(names)} counties; add the codes to the file")
    return {"type": "FeatureCollection", "features": sorted(features, key=lambda f: str(f["properties"]["ISO"]))}


def _feature(code: str, name: str, geometry: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Feature", "properties": {"ISO": code, "NAME_1": name}, "geometry": geometry}


def _cells(points: np.ndarray) -> tuple[float, np.ndarray]:
    """The hexagons' radius and the middles of the cells that lie nearest to any of the points."""
    nearest = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)
    # Towns lie close together and the country wide apart: a cell is as large as the median county's room.
    width = float(np.median(nearest[:, 1:3])) if len(points) > 2 else 1.0
    radius = width / math.sqrt(3)
    low, high = points.min(axis=0) - 4 * width, points.max(axis=0) + 4 * width
    cells = []
    for row, y in enumerate(np.arange(low[1], high[1], 1.5 * radius)):
        cells += [(x + width / 2 * (row % 2), y) for x in np.arange(low[0], high[0], width)]
    middles = np.array(cells)
    distance = np.linalg.norm(middles[:, None] - points[None], axis=2).min(axis=1)
    wanted = max(len(points), int(_ROOM * len(points)))
    near = np.flatnonzero(distance <= max(np.sort(distance)[wanted - 1], 1.2 * width))
    return radius, middles[near]


def _pairs(places: Sequence[tuple[str, str, float, float]], neighbours: Sequence[tuple[str, str]]) -> np.ndarray:
    number = {code: n for n, (code, *_) in enumerate(places)}
    touching = np.zeros((len(places), len(places)), dtype=bool)
    for one, other in neighbours:
        if one in number and other in number:
            touching[number[one], number[other]] = touching[number[other], number[one]] = True
    return touching


def _settled(points: np.ndarray, cells: np.ndarray, radius: float, touching: np.ndarray) -> np.ndarray:
    """Which cell each point takes: nearest in all, then moved and swapped while that brings neighbours together."""
    width = math.sqrt(3) * radius
    away = (np.linalg.norm(points[:, None] - cells[None], axis=2) / width) ** 2
    _, chosen = linear_sum_assignment(away)
    side_by_side = np.linalg.norm(cells[:, None] - cells[None], axis=2) < 1.1 * width
    holder = np.full(len(cells), -1)
    holder[chosen] = np.arange(len(points))

    def cost(point: int, cell: int) -> float:
        met = side_by_side[cell, chosen[touching[point]]]
        return float(away[point, cell] + _APART * (len(met) - met.sum()))

    for _ in range(20):
        moved = False
        for point in range(len(points)):
            here = int(chosen[point])
            for cell in np.argsort(away[point], kind="stable")[:12]:
                other, target = int(holder[cell]), int(cell)
                if target == here:
                    continue
                before = cost(point, here) + (cost(other, target) if other >= 0 else 0.0)
                chosen[point] = target
                if other >= 0:
                    chosen[other] = here
                after = cost(point, target) + (cost(other, here) if other >= 0 else 0.0)
                if after < before - 1e-9:
                    holder[target], holder[here], moved, here = point, other, True, target
                else:
                    chosen[point] = here
                    if other >= 0:
                        chosen[other] = target
        if not moved:
            break
    return chosen


def _clockwise(geometry: dict[str, Any]) -> dict[str, Any]:
    def turned(polygon: list[Any]) -> list[Any]:
        return [ring if (_area(ring) < 0) == (number == 0) else ring[::-1] for number, ring in enumerate(polygon)]

    if geometry["type"] == "Polygon":
        return {"type": "Polygon", "coordinates": turned(geometry["coordinates"])}
    if geometry["type"] == "MultiPolygon":
        return {"type": "MultiPolygon", "coordinates": [turned(polygon) for polygon in geometry["coordinates"]]}
    raise OutlineError(f"expected a Polygon or MultiPolygon for each county, came {geometry['type']}")


def _area(ring: Sequence[Sequence[float]]) -> float:
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, [*ring[1:], ring[0]], strict=True))
