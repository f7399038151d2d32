"""Every error of the unlearning layer.

ExpungeError (storage.errors)
└── UnlearnError
    ├── RequestError
    ├── PlanError
    │   ├── StalePlanError
    │   └── ApprovalError
    ├── TaskError
    ├── VerificationFailedError
    └── InconclusiveError
"""

from storage.errors import ExpungeError


class UnlearnError(ExpungeError):
    """The base of this package's errors."""


class RequestError(UnlearnError):
    """A request cannot be accepted, or not be moved to the state that was asked for."""

    code = "refused"


class PlanError(UnlearnError):
    """No plan can be made, or a plan cannot be applied now."""

    code = "refused"


class StalePlanError(PlanError):
    """The graph has changed in a way that touches the plan."""


class ApprovalError(PlanError):
    """The store's policy has objections to a plan, which nobody has approved in spite of them."""


class TaskError(UnlearnError):
    """A task of a plan could not be done; the plan can be applied again."""


class VerificationFailedError(UnlearnError):
    """A check was carried out and its result is not what it must be."""

    code = "verification_failed"


class InconclusiveError(UnlearnError):
    """A check could not be carried out, so nothing is known."""

    code = "inconclusive"
