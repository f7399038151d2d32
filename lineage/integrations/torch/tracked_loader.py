"""Loaders whose batches carry the identity of their records, whatever fetches or keeps them.

Positions of records travel with the samples of a batch, through worker processes too, until the
batch leaves the loader; from there on its tensors carry them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from lineage.errors import ProgramError
from lineage.integrations.torch.batch_with_positions import Collate, Items, Stream, shown
from lineage.integrations.torch.beside import Beside
from lineage.integrations.torch.record_names import Order, Record, naming
from lineage.integrations.torch.tracked_tensor import batches_in
from lineage.training.events import Handed
from lineage.training.observed import Observed
from lineage.training.update_window import DrawnBatch

_INSIDE = {
    "accelerate": "base_dataloader",
    "lightning": "_dataloader",
    "lightning_fabric": "_dataloader",
}
"""Where wrappers of a package hold the loader of torch."""


def tracked(
    loader: Any,
    run: Observed,
    record: Record | Sequence[object] | None = None,
    order: Order | None = None,
) -> Any:
    """Return the same loader, whose batches carry the identity of their records.

    ``record`` may also be a sequence with what names the record of each item. Wrappers of
    accelerate and Lightning Fabric stay around it.

    Raises:
        ProgramError: it is no loader of torch, or its items cannot be matched with records.
    """
    inside = _inside(loader)
    if inside is not None:
        return _copied(loader, {inside: tracked(vars(loader)[inside], run, record, order)})
    if not isinstance(loader, DataLoader):
        raise ProgramError(
            f"watch was given a {type(loader).__name__}, which is no DataLoader of torch",
            hint="watch the DataLoader inside it, and build the rest around what watch() returns",
        )
    _refuse_begun(loader)
    names, locate, by_sample = naming(loader, run, record, order)
    whole = loader.batch_size is None and loader.batch_sampler is None
    by_sample = by_sample and not whole
    told, beside = names if by_sample else None, Beside()
    wrapped = Stream if isinstance(loader.dataset, IterableDataset) else Items
    return changed(
        loader,
        dataset=wrapped(loader.dataset, names, beside, whole=whole, by_sample=by_sample),
        collate_fn=Collate(run, loader.collate_fn, locate, told, beside),
    )


def _refuse_begun(loader: DataLoader[Any]) -> None:
    """Raise if a loader would go on with what it began before it was watched.

    Raises:
        ProgramError: its workers run already, or it began in order to tell its state.
    """
    if loader.persistent_workers and loader._iterator is not None:
        raise ProgramError(
            "watch was given a DataLoader whose persistent workers run already",
            hint="watch it before anything loops over it; workers that run cannot be told",
        )
    if getattr(loader, "_initial_iter_for_state_dict", False):  # StatefulDataLoader of torchdata
        raise ProgramError(
            "watch was given a StatefulDataLoader that began already, to tell its state",
            hint="watch it before its state is asked for; accelerate asks at once: prepare it "
            "without use_stateful_dataloader, and go on by skip_first_batches",
        )


class ObservedLoader:
    """A tracked loader that tells a run which batches it hands to the loop.

    ``late`` tells so of a batch when the next one is asked for. Everything else is the loader's,
    also where it is set; its dataset gives the samples of the one that it was given.
    """

    _last: DrawnBatch | None

    def __init__(self, loader: Any, run: Observed, *, late: bool = False) -> None:
        vars(self).update(_loader=loader, _run=run, _late=late, _last=None)

    def __iter__(self) -> Iterator[Any]:
        # The loader begins now, not with its first batch: it may draw from generators as it does.
        return self._observed(iter(self._loader))

    def _observed(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            drawn = batches_in(batch)
            if not drawn:
                raise ProgramError(
                    "a batch of the watched loader holds no tensor that carries its records",
                    hint="make tensors of what the dataset gives, in it or in the collate_fn",
                )
            if not self._late:
                self._draw(drawn)
            else:
                self._hand(drawn)
            yield batch
            if self._late:
                self._draw(drawn)

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_loader" not in vars(self):
            raise AttributeError(name)
        return shown(getattr(self._loader, name))

    def __setattr__(self, name: str, value: Any) -> None:
        collate = getattr(base_of(self._loader), "collate_fn", None)
        if name == "collate_fn" and isinstance(collate, Collate):
            if value is not collate:
                collate.collate_by(value)
            return
        setattr(self._loader, name, value)

    def _hand(self, batches: Iterable[DrawnBatch]) -> None:
        """Tell so of batches that are drawn when the next one is asked for."""
        for each in batches:
            self._run.note(Handed(each, self._last, self._loader))
            vars(self)["_last"] = each

    def _draw(self, batches: Any) -> None:
        for each in batches:
            self._run.draw(each)


def is_tracked(loader: Any) -> bool:
    """Return True if the batches of a loader carry the identity of their records."""
    return isinstance(getattr(base_of(loader), "collate_fn", None), Collate)


def base_of(loader: Any) -> Any:
    """Return the loader of torch inside those of accelerate and Lightning Fabric."""
    inside = _inside(loader)
    return loader if inside is None else base_of(vars(loader)[inside])


def changed(loader: DataLoader[Any], **attributes: Any) -> DataLoader[Any]:
    """Return a copy of a loader with other attributes, even those that it guards once made."""
    copied: DataLoader[Any] = _copied(loader, {**attributes, "_iterator": None})
    return copied


def _copied(loader: Any, attributes: Mapping[str, Any]) -> Any:
    # Wrappers change how they are copied; a plain object with the same attributes is wanted.
    copied = object.__new__(type(loader))
    vars(copied).update(vars(loader), **attributes)
    return copied


def _inside(loader: Any) -> str | None:
    """Return the attribute by which a wrapper that we know holds its loader."""
    package = type(loader).__module__.partition(".")[0]
    held = _INSIDE.get(package)
    return held if held in getattr(loader, "__dict__", ()) else None
