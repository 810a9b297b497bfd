"""The contract is the feed: load, check, diff, compile."""

from gridlake.contracts.load import load, load_all
from gridlake.contracts.model import Column, Contract, ContractError, Contracts, Rejected, Rule, Volume

__all__ = ["Column", "Contract", "ContractError", "Contracts", "Rejected", "Rule", "Volume", "load", "load_all"]
