"""Watching a loop of plain PyTorch: its loaders, its gradients, its optimizers.

Records travel with the batch, through worker processes too, so it does not matter how far a
loader reads ahead. What the loop does with a batch is seen from hooks of torch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from torch.utils.hooks import RemovableHandle

from lineage.integrations.torch.group import current_team
from lineage.integrations.torch.noting import Name, Watched, noted
from lineage.store import Store
from lineage.training.contract import Stateful
from lineage.training.notes import Arrived, Updated
from lineage.training.observed import Observed, OnUnknown, Watch
from lineage.training.watching import observe as observe_loop
from lineage.training.watching import restore as restore_state


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

    def watch(
        self, loader: DataLoader[Any], record: Name | None = None, *, ahead: bool = False
    ) -> Watched:
        """The same loader, whose batches are noted as they are handed out.

        A batch is taken to be used before the next one is asked for, and before an update. A loop
        that fetches the next batch before it uses this one says so by ``ahead``; worker processes
        of the loader do not count.

        ``record`` names the record of a sample: a key of it, or a function from it to an id or, for
        a sample made of several records, a list of ids. Without it item ``i`` of the loader's
        dataset is the ``i``-th present record of the registered one.

        Raises:
            ProgramError: without ``record``, the dataset cannot be matched.
        """
        return Watched(noted(loader, self._run.locator, record), self._run.draw, late=ahead)

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

        Needed only where no gradient was computed; one that was thrown away is seen.
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
        RunError: the run is complete, is watched by another process, or was no observed one.
        FencedError: the dataset descends from rows that are being forgotten.
    """
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    things: Mapping[str, Stateful] = {**tracked, **numbered("optimizer", optimizers)}
    watch = Watch(on_unknown, keep_order, retrain, uses_torch=True)
    team = current_team()
    with (
        observe_loop(store, dataset, name, things, watch, resume, team) as run,
        ExitStack() as hooks,
    ):
        for each in optimizers:
            Gradients(run, each, hooks)
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


class Gradients:
    """Hooks that tell of an optimizer's gradients and steps.

    One parameter tells of all: the first that gets a gradient of the first batch. Hooks on every
    one would cost a network of a hundred some tenths of a millisecond a step.
    """

    def __init__(self, run: Observed, optimizer: Optimizer, hooks: ExitStack) -> None:
        self._run = run
        window = run.window()
        # Made once: a loop waits for every object that is made in it.
        self._added, self._afresh = Arrived(window, afresh=False), Arrived(window, afresh=True)
        self._updated = Updated(window)
        self._optimizer = optimizer
        self._hooks = hooks
        self._waiting: list[RemovableHandle] = []
        self._holds = False
        self._depth = 0
        for parameter in self._parameters():
            if parameter.requires_grad:
                self._waiting.append(_hooked(parameter, self._choose))
        for handle in (
            *self._waiting,
            optimizer.register_step_pre_hook(self._stepping),
            optimizer.register_step_post_hook(self._stepped),
        ):
            hooks.callback(handle.remove)

    def _parameters(self) -> Iterator[Tensor]:
        for group in self._optimizer.param_groups:
            yield from group["params"]

    def _choose(self, parameter: Tensor, gradient: Tensor) -> None:
        """The first gradient of all came, to the parameter that will tell from now on."""
        if self._waiting:
            for handle in self._waiting:
                handle.remove()
            self._waiting.clear()
            told = _hooked(parameter, self._arrived)
            self._hooks.callback(told.remove)
            self._holds = True
            self._run.gradient(self._added)

    def _arrived(self, parameter: Tensor, _gradient: Tensor) -> None:
        """A gradient came, and is not added yet to what the parameter has.

        Where no parameter has anything left of the batches before, that was thrown away; but a step
        that computes gradients itself, by a closure, has made use of them before.
        """
        gone = (
            self._holds
            and not self._depth
            and parameter.grad is None
            and all(each.grad is None for each in self._parameters())
        )
        self._holds = True
        self._run.gradient(self._afresh if gone else self._added)

    def _stepping(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        """A step begins; an optimizer that extends another one begins a second inside it."""
        self._depth += 1

    def _stepped(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self._depth -= 1
        if not self._depth:
            self._holds = False
            self._run.update(self._updated)


def _hooked(parameter: Tensor, hook: Callable[[Tensor, Tensor], None]) -> RemovableHandle:
    """Call ``hook`` with the parameter and each gradient that comes to it."""
    handle: RemovableHandle = parameter.register_hook(partial(hook, parameter))  # type: ignore[no-untyped-call]
    return handle
