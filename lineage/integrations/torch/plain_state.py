"""States as checkpoints keep them: tensors that know their batches are kept as plain ones."""

import copy
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from lineage.integrations.torch.tracked_tensor import TrackedTensor, as_plain


def plain_state(state: Any) -> Any:
    """Return a state with plain tensors; what holds none that are tracked is the same object."""
    if type(state) is TrackedTensor:
        with as_plain():
            return state.detach().as_subclass(Tensor)
    if isinstance(state, dict):
        changed = _changed(state.items())
        if not changed:
            return state
        copied = copy.copy(state)  # a dict of a class of its own, and with attributes
        copied.update(changed)
        return copied
    if type(state) in (list, tuple):
        changed = _changed(enumerate(state))
        return type(state)(changed.get(n, each) for n, each in enumerate(state))
    return state


def _changed(members: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return the members of a container that are not plain yet, as plain ones."""
    pairs = ((key, each, plain_state(each)) for key, each in members)
    return {key: plain for key, each, plain in pairs if plain is not each}
