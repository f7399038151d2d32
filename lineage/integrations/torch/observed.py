"""Watching a loop of plain PyTorch: its loaders, its gradients, its optimizers.

Records travel with the batch, through worker processes too, so it does not matter how far a
loader reads ahead. What the loop does with a batch is seen from hooks of torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lineage.integrations.torch.gradients import watch_optimizer
from lineage.integrations.torch.group import current_team
from lineage.integrations.torch.optimizers import optimizers_of
from lineage.integrations.torch.record_names import Order, Record
from lineage.integrations.torch.strangers import strangers_told
from lineage.integrations.torch.tracked_loader import ObservedLoader, tracked
from lineage.integrations.torch.trained_before import remembered
from lineage.store import Store
from lineage.training.contract import Stateful
from lineage.training.observed import Observed, OnUnknown, Watch
from lineage.training.watching import observe as observe_loop
from lineage.training.watching import restore as restore_state


class _Watched(NamedTuple):
    """A loader as it is watched, and how it was when that began."""

    about: tuple[Any, ...]
    held: dict[str, Any]
    loader: ObservedLoader

    def is_of(self, about: tuple[Any, ...], held: dict[str, Any]) -> bool:
        """Return True if the loader holds the same objects, and is watched in the same way."""
        same = about == self.about and held.keys() == self.held.keys()
        return same and all(each is self.held[name] for name, each in held.items())


class Observation:
    """A loop of plain PyTorch that is being watched; see `observe`."""

    def __init__(self, run: Observed) -> None:
        self._run = run
        self._watched: WeakKeyDictionary[Any, _Watched] = WeakKeyDictionary()

    @property
    def id(self) -> str:
        """The run's typed id, ``run-…``."""
        return self._run.id

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self._run.step

    def watch(
        self,
        loader: DataLoader[Any],
        record: Record | None = None,
        *,
        order: Order | None = None,
        ahead: bool = False,
    ) -> ObservedLoader:
        """Return the same loader, whose batches carry the identity of their records.

        Their tensors carry it, and so does what is computed from them: a loop may keep batches,
        mix them or come back to them. An update learned from the batches whose gradients flowed
        since the one before. A batch that was handed out and whose gradient was not seen is named
        too, and the step is said to be an upper bound; a loop that fetches the next batch before it
        uses this one says so by ``ahead``. The same loader, watched again, is the same one again.

        Args:
            loader: a ``DataLoader``, or one that accelerate or Lightning Fabric prepared.
            record: what names the record of a sample: a key of it, a place in it, or a function
                from it to an id or, for a sample made of several records, a list of ids. Without
                it, item ``i`` of the loader's dataset, seen through subsets and concatenations, is
                the ``i``-th present record of the registered one; a sample is compared.
            order: ``file`` says so of items that cannot be compared.

        Raises:
            ProgramError: this is no loader of torch, or its items cannot be matched with records.
        """
        about, held = (record, order, ahead), {**getattr(loader, "__dict__", {}), "_iterator": None}
        known = self._watched.get(loader) if hasattr(loader, "__weakref__") else None
        if known is not None and known.is_of(about, held):
            return known.loader  # with its worker processes, if they persist
        watched = ObservedLoader(tracked(loader, self._run, record, order), self._run, late=ahead)
        self._watched[loader] = _Watched(about, held, watched)
        return watched

    def checkpoint(self) -> None:
        """Keep the state of everything tracked; call it where the loop keeps its own.

        A state that changed without a step is kept too; where nothing changed nothing is done.

        Raises:
            RunError: no step was done yet.
            RecordingError: what was drawn could not be written down; nothing was kept.
            RunStoppedError: a record of the run is to be forgotten.
        """
        self._run.checkpoint()

    def discard(self) -> None:
        """Say that the batch drawn last is not learned from, as after a loss that is no number.

        Without it the step that comes next names the batch too, as an upper bound.
        """
        self._run.discard()

    def evaluated(self, **metrics: float) -> None:
        """Note measures on the dataset that may steer a choice: selection, never training."""
        self._run.evaluated(metrics)


@contextmanager
def observe(
    store: Store,
    dataset: str,
    name: str,
    *,
    optimizer: Optimizer | Sequence[Optimizer],
    on_unknown: OnUnknown = "stop",
    keep_order: bool = False,
    retrain: Sequence[str] | None = None,
    resume: str | None = None,
    **tracked: Stateful,
) -> Iterator[Observation]:
    """Watch the loop in this block, which trains model ``name`` on a registered dataset.

    Keyword arguments are what checkpoints keep, beside the optimizer: ``model=…``, ``scaler=…``.
    At the end of the block the last state is published as a version of the model.

    Args:
        optimizer: one, or several; each of their steps is a step of the run.
        on_unknown: ``stop`` training at a record that the dataset does not hold, or ``record`` that
            there was one: then nothing complete can be said of the run.
        keep_order: keep the order inside batches, at about a byte a visit.
        retrain: the command that trains the model again; by default that of this process.
        resume: a run of this loop that ended early: what is tracked gets the state of its last
            checkpoint, and the loop must go on from there.

    Raises:
        NotFoundError: there is no such dataset or run.
        ProgramError: an optimizer is a wrapper of another one.
        RunError: the run is complete, is watched by another process, or was no observed one.
        FencedError: the dataset descends from rows that are being forgotten.
    """
    optimizers = optimizers_of(optimizer)
    things: Mapping[str, Stateful] = {**tracked, **numbered("optimizer", optimizers)}
    watch = Watch(on_unknown, keep_order, retrain, uses_torch=True)
    team = current_team()
    with (
        remembered(store, things.values()) as begin,
        observe_loop(store, dataset, name, things, watch, resume, team) as run,
        ExitStack() as hooks,
    ):
        begin(run)
        hooks.enter_context(strangers_told(run))
        for each in optimizers:
            hooks.callback(watch_optimizer(run, each))
        yield Observation(run)


def numbered(name: str, things: Sequence[Stateful]) -> dict[str, Stateful]:
    """Names for things to be tracked: the name of an only one, else with numbers.

    >>> list(numbered("optimizer", ["sgd"])), list(numbered("optimizer", ["sgd", "adam"]))
    (['optimizer'], ['optimizer_0', 'optimizer_1'])
    """
    if len(things) == 1:
        return {name: things[0]}
    return {f"{name}_{number}": thing for number, thing in enumerate(things)}


def restore(store: Store, name: str, **tracked: Stateful) -> str:
    """Fill modules and optimizers with the state of an observed model; returns the version's id.

    ``name`` is a version's id, or a model's name, which means its newest version.

    Raises:
        NotFoundError: there is none.
        CheckpointError: its checkpoint was purged.
        ProgramError: it holds no object of one of the names, or is an ensemble.
    """
    return restore_state(store, name, tracked)
