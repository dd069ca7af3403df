"""Runs untrusted programs. Standard library only."""
