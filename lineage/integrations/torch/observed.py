"""Watching a loop of plain PyTorch: its loaders, its gradients, its optimizers.

Positions travel with the batch, through worker processes too, so it does not matter how far a
loader reads ahead. What the loop does with a batch is seen from hooks of torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lineage.integrations.torch.noting import Name, noting
from lineage.store import Store
from lineage.training.observed import Observed, OnUnknown, Watch
from lineage.training.observed import observe as observe_loop
from lineage.training.observed import restore as restore_state
from lineage.training.run import Stateful


class Observation:
    """A loop of plain PyTorch that is being watched; see `observe`."""

    def __init__(self, run: Observed) -> None:
        self._run = run

    @property
    def id(self) -> str:
        """The run's typed id, ``run-…``."""
        return self._run.id

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self._run.step

    def watch(self, loader: DataLoader[Any], record: Name | None = None) -> "Watched":
        """The same loader, whose batches are noted as they are handed out.

        ``record`` names the record of a sample: a key of it, or a function from it to an id or, for
        a sample made of several records, a list of ids. Without it item ``i`` of the loader's
        dataset is the ``i``-th present record of the registered one.

        Raises:
            ProgramError: without ``record``, the dataset cannot be matched.
        """
        return Watched(noting(loader, self._run.locator, record), self._run)

    def holds(self, ids: Sequence[object]) -> NDArray[np.bool_]:
        """Which of these record ids the run may be given: those its dataset version holds (n,).

        A loop that leaves the others out can be trained again when some were forgotten.
        """
        return self._run.locator.ids(ids) >= 0

    def checkpoint(self) -> None:
        """Keep the state of everything tracked; call it where the loop keeps its own.

        Raises:
            RunError: no step was done since the last checkpoint.
            RecordingError: what was drawn could not be written down; nothing was kept.
            RunStoppedError: a record of the run is to be forgotten.
        """
        self._run.checkpoint()

    def discard(self) -> None:
        """Say that the batch drawn last is not learned from, as after a loss that is no number.

        Needed only where no gradient was computed; one that was thrown away is seen.
        """
        self._run.discard()

    def evaluated(self, **metrics: float) -> None:
        """Note measures on the dataset that may steer a choice: selection, never training."""
        self._run.evaluated(metrics)


class Watched:
    """A loader that tells which records it hands out; everything else is the loader's own."""

    def __init__(self, loader: DataLoader[Any], run: Observed) -> None:
        self._loader = loader
        self._run = run

    def __iter__(self) -> Iterator[Any]:
        for positions, batch in self._loader:
            self._run.draw(positions)
            yield batch

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


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
        RunError: the run is complete, is watched by another process, or was no observed one.
        FencedError: the dataset descends from rows that are being forgotten.
    """
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    names = (
        ["optimizer"]
        if len(optimizers) == 1
        else [f"optimizer_{n}" for n in range(len(optimizers))]
    )
    things: Mapping[str, Stateful] = {**tracked, **dict(zip(names, optimizers, strict=True))}
    watch = Watch(on_unknown, keep_order, retrain, uses_torch=True)
    with observe_loop(store, dataset, name, things, watch, resume) as run, ExitStack() as hooks:
        _Gradients(run, optimizers, hooks)
        yield Observation(run)


def restore(store: Store, name: str, **tracked: Stateful) -> str:
    """Fill modules and optimizers with the state of an observed model; returns the version's id.

    ``name`` is a version's id, or a model's name, which means its newest version.

    Raises:
        NotFoundError: there is none.
        CheckpointError: its checkpoint was purged.
        ProgramError: it holds no object of one of the names, or is an ensemble.
    """
    return restore_state(store, name, tracked)


class _Gradients:
    """Hooks on every parameter: a gradient arrives; and on every optimizer: it did a step."""

    def __init__(self, run: Observed, optimizers: Sequence[Optimizer], hooks: ExitStack) -> None:
        self._run = run
        self._hooks = hooks
        self._hooked: set[Tensor] = set()
        self._pass = -1
        self._first: set[Tensor] = set()
        for optimizer in optimizers:
            self._hook(optimizer)
            handle = optimizer.register_step_post_hook(self._stepped)
            hooks.callback(handle.remove)

    def _hook(self, optimizer: Optimizer) -> None:
        """Watch the parameters that learn; some may have been added, or thawed, since."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.requires_grad and parameter not in self._hooked:
                    handle = parameter.register_hook(partial(self._arrived, parameter))
                    self._hooks.callback(handle.remove)
                    self._hooked.add(parameter)

    def _arrived(self, parameter: Tensor, _gradient: Tensor) -> None:
        """A gradient came, and is not added to what the parameter has yet.

        Where a parameter that began a pass before has nothing to add to, that was thrown away.
        """
        number = torch._C._current_graph_task_id()
        if number != self._pass:
            self._pass = number
            self._run.gradient(afresh=parameter.grad is None and parameter in self._first)
            self._first.add(parameter)

    def _stepped(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self._run.update()
        self._first.clear()
        self._hook(optimizer)
