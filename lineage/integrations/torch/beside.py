"""What a tracked dataset is read for beside the samples of a batch, and what it keeps of them.

A collate function may read more items through `torch.utils.data.get_worker_info`, and a dataset may
add samples up in a tensor of its own: then a batch is made of more records than its samples are.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset


class Beside:
    """What was read since the last batch; a dataset and its collate function share it."""

    def __init__(self) -> None:
        self._names: list[Any] = []
        self._kept = False

    def read(self, names: Sequence[Any]) -> None:
        """Take in that an item was read by itself, and what names its records."""
        self._names += names

    @contextmanager
    def fetching(self, dataset: Any) -> Iterator[None]:
        """Look whether the dataset keeps data in its tensors while it makes samples."""
        before = [*_held(dataset)]
        yield
        self._kept |= not all(_is_there(*each) for each in before)

    @property
    def has_kept(self) -> bool:
        """Return True if the dataset kept data since the last batch."""
        return self._kept

    def take(self) -> tuple[Sequence[Any], bool]:
        """Return what names the records that were read, and whether data were kept; once."""
        taken = self._names, self._kept
        self._names, self._kept = [], False
        return taken


def _held(dataset: Any) -> Iterator[tuple[Any, str, Tensor, int]]:
    """Yield the tensors that a dataset has as attributes, or a dataset inside it, with versions."""
    for name, each in getattr(dataset, "__dict__", {}).items():
        if isinstance(each, Tensor):
            yield dataset, name, each, _version(each)
        for inner in each if name == "datasets" and isinstance(each, list) else [each]:
            if isinstance(inner, Dataset) and inner is not dataset:
                yield from _held(inner)


def _is_there(owner: Any, name: str, tensor: Tensor, version: int) -> bool:
    return vars(owner).get(name) is tensor and _version(tensor) == version


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
