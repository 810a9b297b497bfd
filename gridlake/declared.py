"""What a run was told, by name: contracts, senders, vocabularies. Read once, never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


class Declared(Mapping[str, T]):
    """Declarations of one kind in the order of their names; an unknown name is answered with those there are."""

    def __init__(self, kind: str, declarations: Iterable[T], name: Callable[[T], str]) -> None:
        self._kind = kind
        self._declarations = {name(d): d for d in sorted(declarations, key=name)}

    def __getitem__(self, key: str) -> T:
        try:
            return self._declarations[key]
        except KeyError:
            raise KeyError(f"no {self._kind} {key!r}; there are {', '.join(self._declarations)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._declarations)

    def __len__(self) -> int:
        return len(self._declarations)
