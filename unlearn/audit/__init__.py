"""Evidence: what was checked, and the strongest claim that it bears."""

from unlearn.audit.evidence import Verified, verify_plan

__all__ = ["Verified", "verify_plan"]
