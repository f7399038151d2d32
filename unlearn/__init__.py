"""What to do about it: requests, impact, plans, their execution, evidence and the command line."""

from unlearn.audit.evidence import Verified, verify_plan
from unlearn.dispatch.drive import apply
from unlearn.dispatch.local import LocalWorkers
from unlearn.dispatch.worker import Options
from unlearn.impact import Impact, impact
from unlearn.plan.model import Plan
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept, cancel

__all__ = [
    "Impact",
    "LocalWorkers",
    "Options",
    "Plan",
    "Verified",
    "accept",
    "apply",
    "cancel",
    "impact",
    "make_plan",
    "verify_plan",
]
