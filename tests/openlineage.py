"""OpenLineage's own model of its events, made by its generator from its JSON schema, as a judge of ours.

The schema itself is in no package; what it says of names, types, and of what must be there is in these classes.
"""

from __future__ import annotations

import types
import typing
from enum import Enum
from typing import Any

import attr
from openlineage.client import event_v2, facet_v2

# A facet's class by the name of its schema: `…/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet`.
_FACETS = {
    name: cls
    for module in vars(facet_v2).values()
    if isinstance(module, types.ModuleType)
    for name, cls in vars(module).items()
    if attr.has(cls) and name.endswith("Facet")
}
_MADE_BY_THE_CLASS = {"_producer", "_schemaURL", "schemaURL", "_deleted"}


def validated(event: dict[str, Any]) -> event_v2.RunEvent:
    """The event as an object of the official class; raises TypeError or ValueError for a name, type or lack that the class does not know."""
    made = _made(event_v2.RunEvent, event, "event")
    assert isinstance(made, event_v2.RunEvent)
    if event["schemaURL"] != made.schemaURL:
        raise ValueError(f"schemaURL: expected {made.schemaURL}, came {event['schemaURL']}")
    return made


def _made(cls: type, given: Any, place: str) -> Any:
    if not isinstance(given, dict):
        raise TypeError(f"{place}: expected an object for {cls.__name__}, came {given!r}")
    attr.resolve_types(cls)
    known = {a.name: a for a in attr.fields(cls) if a.init}
    values = {}
    for name, value in given.items():
        if name in _MADE_BY_THE_CLASS:
            continue
        if name in known:
            values[known[name].alias] = _value(known[name].type, value, f"{place}.{name}")
        else:
            raise TypeError(f"{place}.{name}: {cls.__name__} knows no such name")
    made = cls(**values)
    for name in _MADE_BY_THE_CLASS & given.keys():
        if name.endswith("schemaURL") and given[name] != getattr(made, name):
            raise ValueError(f"{place}.{name}: expected {getattr(made, name)}, came {given[name]}")
    return made


def _value(kind: Any, given: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (wanted,) = [a for a in arguments if a is not type(None)]
        return None if given is None else _value(wanted, given, place)
    if origin is list:
        if not isinstance(given, list):
            raise TypeError(f"{place}: expected a list, came {given!r}")
        return [_value(arguments[0], item, f"{place}[{n}]") for n, item in enumerate(given)]
    if origin is dict:
        if not isinstance(given, dict):
            raise TypeError(f"{place}: expected an object, came {given!r}")
        return {name: _value(_facet(arguments[1], item), item, f"{place}.{name}") for name, item in given.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(given)
    if attr.has(kind):
        return _made(kind, given, place)
    if kind is not Any and (not isinstance(given, kind) or (kind is int and isinstance(given, bool))):
        raise TypeError(f"{place}: expected {kind.__name__}, came {given!r}")
    return given


def _facet(kind: Any, given: Any) -> Any:
    """The class that a facet names by its schema, where one of its kin is wanted."""
    if not (isinstance(kind, type) and kind.__name__.endswith("Facet") and isinstance(given, dict)):
        return kind
    named = str(given.get("_schemaURL", "")).rpartition("/")[2]
    found = _FACETS.get(named)
    if found is None or not issubclass(found, kind):
        raise TypeError(f"expected a facet that is a {kind.__name__}, came one of schema {given.get('_schemaURL')!r}")
    return found
