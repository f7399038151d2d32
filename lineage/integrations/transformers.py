"""Hugging Face Transformers: a ``Trainer`` that is watched, or driven by a program.

The trainer drops columns that its model does not take, fetches ahead and skips batches when it goes
on. So positions travel inside the batch, under a key of their own, up to the model's door: there
they are noted and taken out.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lineage.errors import ProgramError, RunError
from lineage.integrations.torch.driven import loaded
from lineage.integrations.torch.group import current_team
from lineage.integrations.torch.noting import noting
from lineage.integrations.torch.observed import Gradients
from lineage.store import Store
from lineage.training.batch import Handle
from lineage.training.observed import Observed, OnUnknown, Watch
from lineage.training.run import Run
from lineage.training.watching import observe as observe_loop

KEY = "expunge_records"
"""Where a batch carries the positions of its records, until its model is called."""


class _Observer(TrainerCallback):
    """Watches a trainer: what its model is given, its optimizer, and when it saves."""

    def __init__(self, run: Observed, hooks: ExitStack) -> None:
        self._run = run
        self._hooks = hooks
        self._given = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **about: Any
    ) -> None:
        """Watch the optimizer, which exists by now, and the model."""
        self._run.continues(state.global_step)
        optimizer = getattr(about["optimizer"], "optimizer", about["optimizer"])
        model = about["model"]
        self._run.track(model=model, optimizer=optimizer, scheduler=about["lr_scheduler"])
        handle = model.register_forward_pre_hook(self._arrive, with_kwargs=True, prepend=True)
        self._hooks.callback(handle.remove)
        Gradients(self._run, optimizer, self._hooks)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **about: Any
    ) -> None:
        """A step begins, for which the model has been given nothing yet."""
        self._given = 0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **about: Any
    ) -> None:
        """The update may not happen where the model was given what nobody knows."""
        if not self._given:
            raise RunError(
                f"step {self._run.step} of {self._run.id} gave the model a batch without {KEY!r}",
                hint="let compute_loss call model(**inputs) with all that the loader gave",
            )

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **about: Any
    ) -> None:
        """Keep a checkpoint beside each of the trainer's."""
        if self._run.unkept:
            self._run.checkpoint()

    def _arrive(
        self, _model: nn.Module, args: tuple[Any, ...], given: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        records = given.pop(KEY, None)
        if records is not None:
            self._given += 1
            self._run.draw(records)
        return args, given


@contextmanager
def observe(
    store: Store,
    dataset: str,
    name: str,
    trainer: Trainer,
    *,
    record: str | Sequence[object] | None = None,
    on_unknown: OnUnknown = "stop",
    keep_order: bool = False,
    retrain: Sequence[str] | None = None,
    resume: str | None = None,
) -> Iterator[Observed]:
    """Watch ``trainer.train()`` in this block, as it trains model ``name`` on a dataset.

    ``record`` names the record of each item of ``train_dataset``: a column of it, which may be one
    that the trainer drops, or a sequence of ids. An item made of several records, as packing makes
    them, has a list of ids. Without it item ``i`` is the ``i``-th present record.

    Raises:
        NotFoundError: there is no such dataset or run.
        ProgramError: the dataset cannot be matched, or is a stream.
        RunError: the run is complete, is watched by another process, or was no observed one.
        FencedError: the dataset descends from rows that are being forgotten.
    """
    watch = Watch(on_unknown, keep_order, retrain, uses_torch=True)
    team = current_team()
    with observe_loop(store, dataset, name, {}, watch, resume, team) as run, ExitStack() as hooks:
        trainer.add_callback(_Observer(run, hooks))
        _carry(trainer, run, _ids(trainer, record))
        yield run


def train(run: Run, handle: Handle, trainer: Trainer) -> None:
    """Train inside a program: the trainer's only epoch is the run, a step a batch.

    Its dataset must read `lineage.integrations.torch.Rows`. Model, optimizer and learning rate
    scheduler are tracked; the trainer counts steps from 0 wherever the run starts.

    Raises:
        ProgramError: the trainer has several epochs, accumulates gradients, saves, or ends early.
    """
    args = trainer.args
    plain = (args.num_train_epochs, args.max_steps, args.gradient_accumulation_steps) == (1, -1, 1)
    if not plain or args.save_strategy != "no":
        raise ProgramError(
            "the trainer of a program has one epoch, whose batches are steps, and saves nothing",
            hint="TrainingArguments(num_train_epochs=1, save_strategy='no'); epochs by the recipe",
        )
    loop = loaded(run, handle, _base(trainer.get_train_dataloader()))
    trainer.get_train_dataloader = lambda: loop  # type: ignore[method-assign,assignment,return-value]
    trainer.create_optimizer_and_scheduler(run.steps)
    made: dict[str, Any] = {
        "model": trainer.model,
        "optimizer": trainer.optimizer,
        "scheduler": trainer.lr_scheduler,
    }
    run.track(**made)
    trainer.train()
    loop.finish()


def _carry(trainer: Trainer, run: Observed, ids: Sequence[object] | None) -> None:
    """Let the batches of the trainer's loader carry the positions of their records."""
    made = trainer.get_train_dataloader

    def carrying() -> Any:
        loader = made()
        base = _base(loader)
        noted = noting(base, run.locator, ids)
        noted.collate_fn = _Carried(noted.collate_fn)
        if base is loader:
            return noted
        loader.base_dataloader = noted
        return loader

    trainer.get_train_dataloader = carrying  # type: ignore[method-assign]


class _Carried:
    """Collates to a dictionary that has the positions of its records among the inputs."""

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self._collate = collate

    def __call__(self, items: Any) -> dict[str, Any]:
        positions, batch = self._collate(items)
        return {**batch, KEY: np.asarray(positions)}


def _ids(trainer: Trainer, record: str | Sequence[object] | None) -> Sequence[object] | None:
    if isinstance(record, str):
        items: Any = trainer.train_dataset
        columns = getattr(items, "column_names", None)
        if columns is not None and record in columns:
            return list(items[record])
        return [item[record] for item in items]
    return record


def _base(loader: Any) -> Any:
    """The loader of torch inside the one that accelerate prepared."""
    return getattr(loader, "base_dataloader", loader)
