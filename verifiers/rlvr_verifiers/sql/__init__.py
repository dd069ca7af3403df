"""`sql`: does a query say the same as the gold, on several small SQLite databases?"""

from rlvr_verifiers.sql.verifier import Sql, gold_completion

__all__ = ["Sql", "gold_completion"]
