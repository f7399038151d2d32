"""Code of ours that runs amid what a user compiles, and is no part of it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch._C._dynamo.eval_frame import get_eval_frame_callback

_IDLE = (None, False)
_APART: dict[Callable[..., Any], Callable[..., Any]] = {}
"""Functions, and what calls them apart from anything that is being compiled."""


def untraced(function: Callable[..., Any]) -> Any:
    """Let the compiler of torch trace neither a function nor what it calls.

    What is compiled begins again behind it. Where nothing is being compiled, which is nearly
    always, the function is called as it is.
    """
    _APART[function] = function

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or get_eval_frame_callback() not in _IDLE:
            return _APART[function](*args, **kwargs)
        return function(*args, **kwargs)

    return called


def set_apart() -> None:
    """Make ready for a compiler; once, and before it comes: it looks at what is in globals."""
    for function, apart in _APART.items():
        if apart is function:
            _APART[function] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
