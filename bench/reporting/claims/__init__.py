"""The sentences of a paper that numbers can test, and what printed and stored numbers say of them.

claims = load_claims("aaai2025")
results = check_claims(claims, load_edition("aaai2025"), cells)
"""

from bench.reporting.claims.check import ClaimResult, Section, check_claims, is_shared
from bench.reporting.claims.model import Claim, load_claims

__all__ = ["Claim", "ClaimResult", "Section", "check_claims", "is_shared", "load_claims"]
