"""Trainers of Hugging Face."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from lineage.integrations import transformers as shell
from tests.lineage.loops.harness import Env, error
from tests.lineage.loops.oracle import RECORDS
from tests.lineage.loops.samples import IDS, Items, Sample, Stream
from tests.lineage.loops.shape import BOUNDED, EXACT_OR_REFUSED, KEY, REFUSED, ROW, shape

BOTH = (0, 2)


class Model(nn.Module):
    """The model in a form that trainers take; ``most`` is the largest batch it can hold."""

    def __init__(self, env: Env, most: int = 99) -> None:
        super().__init__()
        self.model = env.model
        self.most = most

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if len(x) > self.most:
            raise RuntimeError("CUDA out of memory.")
        return {"loss": error(self.model(x), labels)}


def _labelled(sample: Sample) -> Sample:
    return {**sample, "labels": sample["y"]}


class Labelled(Items):
    """Samples with labels."""

    def __getitem__(self, item: int) -> Sample:
        return _labelled(super().__getitem__(item))


class LabelledStream(Stream):
    """A stream of samples with labels."""

    def __iter__(self) -> Any:
        return map(_labelled, super().__iter__())


def _trains(
    env: Env,
    dataset: Any = None,
    record: Any = None,
    most: int = 99,
    callback: TrainerCallback | None = None,
    kind: type[Trainer] = Trainer,
    **options: Any,
) -> None:
    quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "logging_strategy": "no"}
    options = {"save_strategy": "no", "num_train_epochs": 2, **quiet, **options}
    options = {"per_device_train_batch_size": 4, "dataloader_num_workers": env.workers, **options}
    trainer = kind(
        Model(env, most),
        TrainingArguments(str(env.folder), **options),
        train_dataset=Labelled() if dataset is None else dataset,
        optimizers=(env.optimizer, None),
        callbacks=[] if callback is None else [callback],
    )
    by = env.named.get("record") if record is None else record
    with env.watcher.observe(shell.observe, trainer, record=by):
        trainer.train()


@shape("trains on a dataset of samples", quick=BOTH)
def samples(env: Env) -> None:
    _trains(env)


@shape("trains on a dataset of samples, and says the ids in a list", by=KEY)
def listed(env: Env) -> None:
    _trains(env, record=list(IDS))


@shape("accumulates three batches")
def accumulating(env: Env) -> None:
    _trains(env, gradient_accumulation_steps=3, per_device_train_batch_size=1)


@shape("trains on samples in another order than the file's", by=ROW, allowed=REFUSED)
def backwards(env: Env) -> None:
    _trains(env, Labelled(range(RECORDS - 1, -1, -1)))


@shape("reads a stream, whose samples say who they are", by=KEY, allowed=EXACT_OR_REFUSED)
def stream(env: Env) -> None:
    _trains(env, LabelledStream(), max_steps=5)


@shape("reads a stream, and says the ids in a list", by=KEY, allowed=REFUSED)
def stream_listed(env: Env) -> None:
    _trains(env, LabelledStream(), list(IDS), max_steps=5)


@shape("reads a stream, and says nothing of it", by=ROW, allowed=REFUSED)
def stream_unnamed(env: Env) -> None:
    _trains(env, LabelledStream(), max_steps=5)


@shape("looks for a batch size that fits into memory", allowed=EXACT_OR_REFUSED | BOUNDED)
def batch_size_that_fits(env: Env) -> None:
    _trains(env, most=2, auto_find_batch_size=True)


class Averages(TrainerCallback):
    """Keeps a copy of the model after each step."""

    def on_step_end(self, *_: Any, model: nn.Module | None = None, **__: Any) -> None:
        self.mean = copy.deepcopy(model)


@shape("has a callback that copies the model", allowed=EXACT_OR_REFUSED)
def copies_the_model(env: Env) -> None:
    _trains(env, callback=Averages())


class Validates(TrainerCallback):
    """Calls the model by itself in the middle of training."""

    def __init__(self, dataset: Dataset[Sample]) -> None:
        self.dataset = dataset

    def on_step_end(self, *_: Any, model: Any = None, **__: Any) -> None:
        one = self.dataset[3]
        model.model(one["x"][None].requires_grad_(False)).detach()


@shape("has a callback that calls the model on a record", allowed=BOUNDED)
def callback_calls_the_model(env: Env) -> None:
    _trains(env, callback=Validates(Labelled()))


def _hub(env: Env) -> Any:
    import datasets

    rows = [{**each, "x": each["x"].tolist(), "labels": float(each["y"])} for each in env.items]
    kept = [{key: row[key] for key in ("rid", "x", "labels")} for row in rows]
    return datasets.Dataset.from_list(kept)


@shape("trains on a table of the library datasets", needs="datasets", allowed=EXACT_OR_REFUSED)
def table(env: Env) -> None:
    _trains(env, _hub(env))


@shape("shuffles a table of the library datasets", needs="datasets", by_row=REFUSED)
def shuffled_table(env: Env) -> None:
    _trains(env, _hub(env).shuffle(seed=3))


@shape(
    "streams a table of the library datasets", needs="datasets", by=KEY, allowed=EXACT_OR_REFUSED
)
def streamed_table(env: Env) -> None:
    _trains(env, _hub(env).to_iterable_dataset(), max_steps=5)


@shape(
    "streams a table of the library datasets, and says the ids in a list",
    needs="datasets",
    by=KEY,
    allowed=REFUSED,
)
def streamed_table_listed(env: Env) -> None:
    _trains(env, _hub(env).to_iterable_dataset(), list(IDS), max_steps=5)


@shape("computes its loss by a function of its own, of some of the inputs")
def own_loss(env: Env) -> None:
    class Own(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
            return model(x=inputs["x"], labels=inputs["labels"])["loss"]

    _trains(env, kind=Own)


class Peeks(Trainer):
    """Calls the model on batches of a loader of its own, beside those that it trains on."""

    env: Env
    ids: Any = None

    def training_step(self, model: Any, inputs: Any, *about: Any, **more: Any) -> Any:
        if self.ids is None:
            self.ids = iter(self.get_train_dataloader())
        batch = next(self.ids)
        with torch.no_grad():
            self.env.model(batch["x"])
        self.env.oracle.silent(int(number) for number in batch["x"].nonzero()[:, -1])
        return super().training_step(model, inputs, *about, **more)


@shape("calls the model on another pass of its loader in each step", allowed=BOUNDED)
def peeks(env: Env) -> None:
    class Own(Peeks):
        pass

    Own.env = env
    _trains(env, kind=Own, num_train_epochs=1)
