"""What to do about it: requests, plans, their execution, evidence and the command line."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearn.audit.evidence import Verified, verify_plan
    from unlearn.dispatch.debug import InProcess
    from unlearn.dispatch.drive import apply
    from unlearn.dispatch.local import LocalWorkers
    from unlearn.dispatch.worker import Options
    from unlearn.plan.model import Plan
    from unlearn.plan.planner import make_plan
    from unlearn.request.accepted import Accepted, Receipt
    from unlearn.request.lifecycle import accept, cancel

__all__ = [
    "Accepted",
    "InProcess",
    "LocalWorkers",
    "Options",
    "Plan",
    "Receipt",
    "Verified",
    "accept",
    "apply",
    "cancel",
    "make_plan",
    "verify_plan",
]

_HOMES = {
    "Accepted": "unlearn.request.accepted",
    "InProcess": "unlearn.dispatch.debug",
    "LocalWorkers": "unlearn.dispatch.local",
    "Options": "unlearn.dispatch.worker",
    "Plan": "unlearn.plan.model",
    "Receipt": "unlearn.request.accepted",
    "Verified": "unlearn.audit.evidence",
    "accept": "unlearn.request.lifecycle",
    "apply": "unlearn.dispatch.drive",
    "cancel": "unlearn.request.lifecycle",
    "make_plan": "unlearn.plan.planner",
    "verify_plan": "unlearn.audit.evidence",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: `expunge --help` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
