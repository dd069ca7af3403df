"""Does a verifier keep what a verifier promises? `check(name)` puts it through every rule and says what it broke.

from rlvr_verifiers.conformance import check

report = check("my_verifier")
assert report.passed, report.text()
"""

from rlvr_verifiers.conformance.cases import Case, find_cases, read_cases
from rlvr_verifiers.conformance.suite import Finding, Report, check

__all__ = ["Case", "Finding", "Report", "check", "find_cases", "read_cases"]
