"""Loops of plain PyTorch inside a program: rows of the run for a ``DataLoader``, both ways.

The loader keeps what it is good at: reading in worker processes, transforming and collating. Who
comes when is the run's schedule: a stable one, or the order that the loader's own sampler draws,
which is recorded and followed ever after.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from lineage.errors import ProgramError, UnattributedReadError
from lineage.integrations.torch.tracked_loader import changed
from lineage.training.batch import Handle
from lineage.training.reading import Loading
from lineage.training.run import Run
from storage.errors import ExpungeError


class Rows(Dataset[dict[str, Any]]):
    """The present rows of a run's dataset, for a dataset of the program's own to read from.

    ``rows[i]`` is a dictionary of NumPy values. It can be read by item ``i`` of the loader's
    dataset when that is due; inside ``run.evaluate`` and ``run.fit`` of its dataset; and while a
    recorded order is drawn. Its length is nominal, as everything is that a program may know of rows
    beforehand. ``columns`` leaves some out.
    """

    def __init__(self, run: Run, handle: Handle, columns: Sequence[str] | None = None) -> None:
        self._rows = run.rows(handle, columns)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self._rows[row]


class Loop:
    """The batches of a run, loaded by a loader; see `loaded`."""

    def __init__(self, run: Run, handle: Handle, loader: DataLoader[Any]) -> None:
        self._run = run
        # Holds no Loop: worker processes end at once where nobody holds their batches any more.
        self._batches = _loads(run, handle, loader)

    def __len__(self) -> int:
        """The nominal number of steps of the whole run."""
        return self._run.steps

    def __iter__(self) -> Iterator[Any]:
        return self._batches

    def finish(self) -> None:
        """End the loop for a trainer that knows when it is done, and does not ask for more.

        Raises:
            ProgramError: there is more.
        """
        if next(self._batches, self) is not self:
            raise ProgramError(
                f"the trainer stopped after step {self._run.step} of {self._run.end}",
                hint="let it train to the end of its loader: one epoch, and no early stopping",
            )


def loaded(run: Run, handle: Handle, loader: DataLoader[Any]) -> Loop:
    """The scheduled batches of a run, each as a loader of the program's own makes it.

    Item ``i`` of the loader's dataset must be made of row ``i`` of `Rows`, and of no other. Under a
    stable schedule the loader's sampler is not asked; under a recorded one it draws each epoch,
    once and for all. Random numbers that loading uses are seeded for each step, in worker processes
    too.

    Raises:
        ProgramError: the loader makes no batches of items, or training has begun.
    """
    if loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset):
        raise ProgramError(
            "the loader makes no batches of numbered items, so its rows cannot be chosen",
            hint="give it a map-style dataset and a batch_size, or watch the loop instead",
        )
    if run.draws:
        run.draw(_Sampler(loader))
    return Loop(run, handle, loader)


def _loads(run: Run, handle: Handle, loader: DataLoader[Any]) -> Iterator[Any]:
    loads = iter(
        changed(
            loader,
            dataset=_Due(loader.dataset, run.loading()),
            batch_sampler=run.upcoming(handle),
            collate_fn=_Checked(loader.collate_fn),
        )
    )
    try:
        for _ in run.batches(handle):
            load = next(loads)
            if load.fault:
                raise ProgramError(load.fault, hint=load.hint)
            # What loading drew from the generators depends on who loaded.
            run.seed(run.step)
            yield load.batch
    finally:
        # An error may keep this frame for long, and with it worker processes.
        del loads


class _Sampler:
    """The order of a loader; generators of its own are seeded as the global ones are."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Sequence[int]]:
        sampler = getattr(self._loader.batch_sampler, "sampler", None)
        for owner in (self._loader, self._loader.batch_sampler, sampler):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator):
                generator.manual_seed(torch.initial_seed())
        return iter(self._loader.batch_sampler or ())


class _Loaded(NamedTuple):
    """A batch, or the sentence that says why it is not what it should be."""

    batch: Any
    fault: str = ""
    hint: str = "item i of the loader's dataset must read row i of lineage's Rows"


class _Due(Dataset[Any]):
    """The items of a step, read under seeds of their own; each must read its own row."""

    def __init__(self, dataset: Any, loading: Loading) -> None:
        self._dataset = dataset
        self._loading = loading

    def __getitems__(self, due: tuple[int, Any]) -> "list[Any] | _Loaded":
        step, rows = due
        self._loading.seed(step)
        items = []
        for row in rows.tolist():
            with self._loading.permit.item(row) as item:
                # The item keeps what was refused, also where the dataset catches the error.
                try:
                    with suppress(UnattributedReadError):
                        items.append(self._dataset[row])
                except ExpungeError as error:
                    return _in_its_place(error)
                if fault := item.check():
                    return _Loaded(None, fault)
        return items


class _Checked:
    """Collates what was read, unless that is a fault."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self._collate = collate

    def __call__(self, items: "list[Any] | _Loaded") -> _Loaded:
        if isinstance(items, _Loaded):
            return items
        try:
            return _Loaded(self._collate(items))
        except ExpungeError as error:
            return _in_its_place(error)


def _in_its_place(error: ExpungeError) -> _Loaded:
    """Return what a worker process hands on instead of an error, which would be a traceback there.

    Raises:
        ExpungeError: the error itself, in the process that trains.
    """
    if get_worker_info() is None:
        raise error
    return _Loaded(None, error.message, error.hint)
