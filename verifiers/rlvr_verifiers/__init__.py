"""Verifiers: what scores a completion. Import light, never torch."""
