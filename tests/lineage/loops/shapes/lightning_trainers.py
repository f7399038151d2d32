"""Trainers of Lightning, with one loader and with several."""

from collections.abc import Callable, Iterator
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.optim import Optimizer

from lineage.integrations import lightning as shell
from tests.lineage.loops.harness import Env
from tests.lineage.loops.oracle import RECORDS
from tests.lineage.loops.samples import Batch, Items, Stream
from tests.lineage.loops.shape import BOUNDED, EXACT_OR_REFUSED, KEY, UNKNOWN, shape

BOTH = (0, 2)
ODD, EVEN = range(1, 12, 2), range(0, 12, 2)


class Module(lightning.LightningModule):
    """Adds the losses of all batches that it is given at once."""

    def __init__(self, env: Env) -> None:
        super().__init__()
        self.model = env.model
        self._env = [env]

    def training_step(self, given: Any, _: int) -> Tensor:
        (env,) = self._env
        losses: Any = sum(env.loss(batch, self.model) for batch in _batches(given))
        return losses

    def validation_step(self, given: Any, _: int) -> None:
        self._env[0].loss(given, self.model)

    def configure_optimizers(self) -> Optimizer:
        return self._env[0].optimizer


def _batches(given: Any) -> Iterator[Batch]:
    """Find the batches in what a trainer gives: one, or a dict or a list with some or none."""
    if isinstance(given, dict) and "x" in given:
        yield given
    elif given is not None:
        for part in given.values() if isinstance(given, dict) else given:
            yield from _batches(part)


def _fit(
    env: Env,
    loaders: Callable[[Any], Any],
    validation: Any = None,
    also: tuple[Callback, ...] = (),
    **options: Any,
) -> None:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options = {"max_epochs": 2, "enable_checkpointing": False, **quiet, **options}
    with env.watcher.observe(shell.observe) as run:
        callbacks = [*([run] if isinstance(run, Callback) else []), *also]
        trainer = lightning.Trainer(accelerator="cpu", callbacks=callbacks, **options)
        trainer.fit(Module(env), loaders(run), validation)


def _one(env: Env) -> Callable[[Any], Any]:
    return lambda run: run.watch(env.loader(shuffle=True), **env.named)


def _two(env: Env) -> Callable[[Any], Any]:
    return lambda run: {
        "a": run.watch(env.loader(shuffle=True), **env.named),
        "b": run.watch(env.loader(shuffle=True, batch_size=2), **env.named),
    }


@shape("fits with one loader", quick=BOTH)
def one(env: Env) -> None:
    _fit(env, _one(env))


@shape("fits with one loader, and accumulates two batches")
def accumulating(env: Env) -> None:
    _fit(env, _one(env), accumulate_grad_batches=2)


@shape("fits with one loader, and takes some of its batches only")
def limited(env: Env) -> None:
    _fit(env, _one(env), limit_train_batches=3)


@shape("fits with a stream, of which one batch is fetched ahead", by=KEY)
def stream(env: Env) -> None:
    _fit(env, lambda run: run.watch(env.loader(Stream()), **env.named), limit_train_batches=3)


@shape("fits with one loader, and validates on one that is not watched", quick=BOTH)
def validating(env: Env) -> None:
    _fit(env, _one(env), env.loader(), num_sanity_val_steps=1)


@shape("fits with a dict of two loaders", quick=BOTH, allowed=EXACT_OR_REFUSED)
def dict_of_two(env: Env) -> None:
    _fit(env, _two(env))


@shape("fits with a list of two loaders", allowed=EXACT_OR_REFUSED)
def list_of_two(env: Env) -> None:
    _fit(env, lambda run: list(_two(env)(run).values()))


@shape("fits with a dict of two loaders, and accumulates two batches", allowed=EXACT_OR_REFUSED)
def dict_accumulating(env: Env) -> None:
    _fit(env, _two(env), accumulate_grad_batches=2)


@shape("fits with two loaders, as long as the shorter one", allowed=EXACT_OR_REFUSED)
def min_size(env: Env) -> None:
    _fit(env, lambda run: CombinedLoader(_two(env)(run), "min_size"))


@shape("fits with two loaders, as long as the longer one", allowed=EXACT_OR_REFUSED)
def max_size(env: Env) -> None:
    _fit(env, lambda run: CombinedLoader(_two(env)(run), "max_size"))


@shape("fits with two loaders, the shorter of which is cycled", allowed=EXACT_OR_REFUSED)
def max_size_cycle(env: Env) -> None:
    _fit(env, lambda run: CombinedLoader(_two(env)(run), "max_size_cycle"))


@shape("fits with two loaders of parts of the dataset", by=KEY, allowed=EXACT_OR_REFUSED)
def parts(env: Env) -> None:
    def loaders(run: Any) -> Any:
        made = (env.loader(Items(part), batch_size=2) for part in (ODD, EVEN))
        return [run.watch(loader, **env.named) for loader in made]

    _fit(env, loaders)


@shape("fits with two loaders, of which the second is not watched", allowed=UNKNOWN)
def second_unwatched(env: Env) -> None:
    _fit(env, lambda run: {**_two(env)(run), "b": env.loader(shuffle=True, batch_size=2)})


@shape("fits with two loaders, of which the first is not watched", allowed=UNKNOWN)
def first_unwatched(env: Env) -> None:
    _fit(env, lambda run: {**_two(env)(run), "a": env.loader(shuffle=True)})


@shape("fits with a loader that is not watched", allowed=UNKNOWN)
def unwatched(env: Env) -> None:
    _fit(env, lambda run: env.loader(shuffle=True))


class ReadsAll(Callback):
    """Calls the model on all batches of the trainer's loader, after the first epoch."""

    def __init__(self, env: Env) -> None:
        self._env = env

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch:
            return
        with torch.no_grad():
            for batch in trainer.train_dataloader:
                self._env.model(batch["x"])
        self._env.oracle.silent(range(RECORDS))


@shape("reads its watched loader in a hook, beside what it trains on", quick=BOTH, allowed=BOUNDED)
def reads_in_a_hook(env: Env) -> None:
    _fit(env, _one(env), also=(ReadsAll(env),), limit_train_batches=2)


@shape("reads its watched loader in a hook, with workers that stay", workers=(2,), allowed=BOUNDED)
def reads_in_a_hook_with_persistent_workers(env: Env) -> None:
    def loaders(run: Any) -> Any:
        return run.watch(env.loader(shuffle=True, persistent_workers=True), **env.named)

    _fit(env, loaders, also=(ReadsAll(env),), limit_train_batches=2)
