"""How can a verifier be cheated, and whom does it wrong? `audit(target, tasks)` tries attacks built from the tasks themselves."""

from rlvr_verifiers.audit.attacks import Attack, attacks_on
from rlvr_verifiers.audit.report import AuditReport
from rlvr_verifiers.audit.run import audit

__all__ = ["Attack", "AuditReport", "attacks_on", "audit"]
