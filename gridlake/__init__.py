"""Shared core of gridlake: contracts, tables, engine, runs. Imports no other room."""

__version__ = "0.1.0"
