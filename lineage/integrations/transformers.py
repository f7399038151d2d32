"""Hugging Face Transformers: a ``Trainer`` that is watched, or driven by a program.

The trainer drops columns that its model does not take, fetches ahead and skips batches when it goes
on. The tensors of a batch carry whose records it has, so a batch is noted when it is trained on.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers import trainer as module

from lineage.errors import ProgramError, RunError
from lineage.integrations.torch.driven import loaded
from lineage.integrations.torch.gradients import plain_optimizer, watch_optimizer
from lineage.integrations.torch.group import current_team
from lineage.integrations.torch.tracked_loader import Order, base_of, handing, tracked
from lineage.integrations.torch.tracked_tensor import batches_in
from lineage.store import Store
from lineage.training.batch import Handle
from lineage.training.observed import Observed, OnUnknown, Watch
from lineage.training.run import Run
from lineage.training.watching import observe as observe_loop


class _Observer(TrainerCallback):
    """Watches a trainer: its optimizer, and when it saves."""

    def __init__(self, run: Observed) -> None:
        self._run = run
        self._began = False
        self.hooks = ExitStack()

    def __deepcopy__(self, _memo: object) -> TrainerCallback:
        """Return a callback that does nothing: a copy of a trainer's is not watched."""
        return TrainerCallback()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **about: Any
    ) -> None:
        """Watch the optimizer, which exists by now, and the model.

        A trainer that looks for its batch size begins several times, each with a new optimizer.
        """
        if not self._began:
            self._run.continues(state.global_step)
        self._began = True
        self.hooks.close()
        optimizer = plain_optimizer(about["optimizer"])
        self._run.track(model=about["model"], optimizer=optimizer, scheduler=about["lr_scheduler"])
        self.hooks.callback(watch_optimizer(self._run, optimizer))

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **about: Any
    ) -> None:
        """Keep a checkpoint beside each of the trainer's."""
        if self._run.unkept:
            self._run.checkpoint()


@contextmanager
def observe(
    store: Store,
    dataset: str,
    name: str,
    trainer: Trainer,
    *,
    record: str | Sequence[object] | None = None,
    order: Order | None = None,
    on_unknown: OnUnknown = "stop",
    keep_order: bool = False,
    retrain: Sequence[str] | None = None,
    resume: str | None = None,
) -> Iterator[Observed]:
    """Watch ``trainer.train()`` in this block, as it trains model ``name`` on a dataset.

    ``record`` names the record of each item of ``train_dataset``: a column of it, which may be one
    that the trainer drops, or a sequence of ids. An item made of several records, as packing makes
    them, has a list of ids. Without it item ``i`` is the ``i``-th present record: a sample is
    compared, or ``order="file"`` says so. A stream needs a column.

    Raises:
        NotFoundError: there is no such dataset or run.
        ProgramError: the items cannot be matched with records.
        RunError: the run is complete, is watched by another process, or was no observed one; or the
            trainer makes batches of its own.
        FencedError: the dataset descends from rows that are being forgotten.
    """
    watch = Watch(on_unknown, keep_order, retrain, uses_torch=True)
    team = current_team()
    with observe_loop(store, dataset, name, {}, watch, resume, team) as run, ExitStack() as ended:
        observer = _Observer(run)
        trainer.add_callback(observer)
        ended.callback(trainer.remove_callback, observer)
        ended.enter_context(observer.hooks)
        with _watched(trainer, run, record, order):
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
    loop = loaded(run, handle, base_of(trainer.get_train_dataloader()))
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


@contextmanager
def _watched(
    trainer: Trainer, run: Observed, record: str | Sequence[object] | None, order: Order | None
) -> Iterator[None]:
    """Let a trainer load tracked batches, and tell which of them it trains on."""
    load, step = trainer.get_train_dataloader, trainer.training_step
    skip = module.skip_first_batches  # type: ignore[attr-defined]

    def loading() -> Any:
        return tracked(_with_column(trainer, load, record), run, record, order)

    def stepping(model: Any, inputs: Mapping[str, Any], *about: Any, **more: Any) -> Any:
        drawn = batches_in(inputs)
        if not drawn:
            raise RunError(
                f"step {run.step} of {run.id} is given a batch that does not carry its records",
                hint="let the trainer load what get_train_dataloader() returns",
            )
        for batch in drawn:
            run.draw(batch)
        return step(model, inputs, *about, **more)  # type: ignore[arg-type]

    def skipping(loader: Any, count: int = 0) -> Any:
        return handing(skip(loader, count), run)

    trainer.get_train_dataloader = loading  # type: ignore[method-assign]
    trainer.training_step = stepping  # type: ignore[method-assign]
    # Which is how a trainer that goes on makes another loader of the parts of this one.
    module.skip_first_batches = skipping  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.skip_first_batches = skip  # type: ignore[attr-defined]
        trainer.get_train_dataloader = load  # type: ignore[method-assign]
        trainer.training_step = step  # type: ignore[method-assign]


def _with_column(trainer: Trainer, load: Any, record: object) -> Any:
    """Load with a column that names records, which is dropped from the samples of a batch later."""
    args = trainer.args
    if not isinstance(record, str) or not args.remove_unused_columns:
        return load()
    args.remove_unused_columns = False
    try:
        loader = load()
    finally:
        args.remove_unused_columns = True
    base = base_of(loader)
    base.collate_fn = trainer._get_collator_with_removed_columns(base.collate_fn, "training")
    return loader
