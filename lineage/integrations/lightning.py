"""Lightning: a callback that watches a trainer, and a trainer driven by a program.

Lightning's callbacks see no indexes, and its loops fetch ahead and combine loaders. The tensors of
a batch carry whose records it has, so the callback finds them where the batch begins.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from lineage.errors import ProgramError, RunError
from lineage.integrations.torch.driven import loaded
from lineage.integrations.torch.gradients import watch_optimizer
from lineage.integrations.torch.group import current_team
from lineage.integrations.torch.observed import numbered
from lineage.integrations.torch.optimizers import plain_optimizer
from lineage.integrations.torch.record_names import Order, Record
from lineage.integrations.torch.strangers import strangers_told
from lineage.integrations.torch.tracked_loader import is_tracked, tracked
from lineage.integrations.torch.tracked_tensor import batches_in
from lineage.store import Store
from lineage.training.batch import Handle
from lineage.training.contract import Stateful
from lineage.training.observed import Observed, OnUnknown, Watch
from lineage.training.run import Run
from lineage.training.watching import observe as observe_loop


class Observer(Callback):
    """Watches a trainer's fit; see `observe`. All its loaders must come from ``watch``."""

    def __init__(self, run: Observed, hooks: ExitStack) -> None:
        self._run = run
        self._hooks = hooks

    def __deepcopy__(self, _memo: object) -> Callback:
        """Return a callback that does nothing: a copy of a trainer's is not watched."""
        return Callback()

    @property
    def id(self) -> str:
        """The run's typed id, ``run-…``."""
        return self._run.id

    def watch(
        self, loader: DataLoader[Any], record: Record | None = None, *, order: Order | None = None
    ) -> DataLoader[Any]:
        """Return the loader to give to the trainer, alone or in any combination of loaders.

        ``record`` and ``order`` are those of the observation of plain PyTorch.

        Raises:
            ProgramError: this is no loader of torch, or its items cannot be matched with records.
        """
        watched: DataLoader[Any] = tracked(loader, self._run, record, order)
        return watched

    def on_train_start(
        self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule"
    ) -> None:
        """Watch the optimizers, which exist by now, and keep them with the module."""
        if trainer.world_size != self._run.processes:
            raise RunError(
                f"{trainer.world_size} processes train run {self.id}, and {self._run.processes} "
                "watch it",
                hint="they find each other too late here: watch one process, or a plain loop",
            )
        for number, loader in enumerate(CombinedLoader(trainer.train_dataloader).flattened):
            if not is_tracked(loader):
                raise RunError(
                    f"loader {number} of run {self.id} is not watched",
                    hint="trainer.fit(module, observer.watch(loader)), for each loader",
                )
        self._run.continues(trainer.global_step)
        self._run.track(**_state(trainer, pl_module))
        self._hooks.close()
        for optimizer in trainer.optimizers:
            self._hooks.callback(watch_optimizer(self._run, plain_optimizer(optimizer)))

    def on_train_batch_start(
        self,
        trainer: "lightning.Trainer",
        pl_module: "lightning.LightningModule",
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Note the batches of all loaders that the step begins with."""
        drawn = batches_in(batch)
        if not drawn:
            raise RunError(
                f"batch {batch_idx} of run {self.id} does not carry its records",
                hint="make it of what the watched loader gives",
            )
        for each in drawn:
            self._run.draw(each)

    def on_save_checkpoint(
        self,
        trainer: "lightning.Trainer",
        pl_module: "lightning.LightningModule",
        checkpoint: dict[str, Any],
    ) -> None:
        """Keep a checkpoint beside each of the trainer's."""
        if self._run.unkept:
            self._run.checkpoint()


@contextmanager
def observe(
    store: Store,
    dataset: str,
    name: str,
    *,
    on_unknown: OnUnknown = "stop",
    keep_order: bool = False,
    retrain: Sequence[str] | None = None,
    resume: str | None = None,
) -> Iterator[Observer]:
    """Watch the trainer that gets this callback, as it trains model ``name`` on a dataset.

    ``trainer.fit`` must get its loader from the callback's ``watch``, and belongs into the block;
    at its end the last state is published. The arguments are those of the observation of plain
    PyTorch. To go on with a run, ``resume`` it and let the trainer go on from the checkpoint it
    saved last.

    Raises:
        NotFoundError: there is no such dataset or run.
        RunError: the run is complete, is watched by another process, or was no observed one.
        FencedError: the dataset descends from rows that are being forgotten.
    """
    watch = Watch(on_unknown, keep_order, retrain, uses_torch=True)
    team = current_team()
    with (
        observe_loop(store, dataset, name, {}, watch, resume, team) as run,
        strangers_told(run),
        ExitStack() as hooks,
    ):
        yield Observer(run, hooks)


def fit(
    run: Run,
    handle: Handle,
    trainer: "lightning.Trainer",
    module: "lightning.LightningModule",
    loader: DataLoader[Any],
) -> None:
    """Fit a module inside a program: the trainer's only epoch is the run, a step a batch.

    Module, optimizers and learning rate schedulers are tracked. The trainer counts steps and epochs
    from 0 wherever the run starts, so schedulers must go by the step.

    Raises:
        ProgramError: the trainer has several epochs, accumulates gradients, or ends early; the
            loader makes no batches of items.
    """
    if (trainer.max_epochs, trainer.accumulate_grad_batches) != (1, 1):
        raise ProgramError(
            "the trainer of a program has one epoch, whose batches are optimizer steps",
            hint="Trainer(max_epochs=1), and epochs and batch size by the recipe",
        )
    loop = loaded(run, handle, loader)
    trainer.callbacks.append(_Tracker(run))  # type: ignore[attr-defined]
    trainer.fit(module, loop)
    loop.finish()


class _Tracker(Callback):
    """Tracks what is trained, once the trainer has made it."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_train_start(
        self, trainer: "lightning.Trainer", pl_module: "lightning.LightningModule"
    ) -> None:
        self._run.track(**_state(trainer, pl_module))


def _state(
    trainer: "lightning.Trainer", module: "lightning.LightningModule"
) -> dict[str, Stateful]:
    schedulers = [each.scheduler for each in trainer.lr_scheduler_configs]
    return {
        "model": module,
        **numbered("optimizer", trainer.optimizers),
        **numbered("scheduler", schedulers),
    }
