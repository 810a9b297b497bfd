"""Conformance: what a contract promises, shown case by case on a sandbox, and a signed certificate for a sender that passed."""
