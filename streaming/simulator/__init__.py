"""A province that sends its feeds: seeded, so that equal parameters give equal bytes, with the truth about what was injected beside it."""

from streaming.simulator.province import InboxTaken, Parameters, simulate

__all__ = ["InboxTaken", "Parameters", "simulate"]
