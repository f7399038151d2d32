"""Trainers of Hugging Face, driven by a program and only watched, on the real framework.

A sample carries its own id, and the model notes which ids it is shown in which of the trainer's
steps: that witness asks no code of ours.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from lineage.errors import ProgramError, RunError, UnknownRecordError
from lineage.integrations import transformers as shell
from lineage.integrations.torch import restore
from storage.catalogue import tables

# What accelerate warns of in itself, in the version that is installed here.
pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")

PROGRAM = """from transformers import Trainer, TrainingArguments
import torch
from torch import nn
from torch.utils.data import Dataset

import lineage
from lineage.integrations import transformers as shell
from lineage.integrations.torch import Rows


def network():
    return nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))


class People(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, item):
        x = torch.tensor([float(self.rows[item]["x"])]) + 0.1 * torch.randn(1)
        return {"x": x, "labels": torch.tanh(x)}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x, labels=None):
        guess = self.net(x)
        return {"loss": nn.functional.mse_loss(guess, labels), "logits": guess}


@lineage.program
def train(run):
    people = run.dataset("people")
    arguments = TrainingArguments(
        output_dir=run.config.out, num_train_epochs=1, per_device_train_batch_size=4, use_cpu=True,
        report_to=[], disable_tqdm=True, logging_strategy="no", save_strategy="no",
    )
    trainer = Trainer(Model(), arguments, train_dataset=People(Rows(run, people)))
    shell.train(run, people, trainer)
"""


class Witness:
    """Which ids a model was shown, by the step in which it was."""

    def __init__(self) -> None:
        self.shown: dict[str, set[int]] = defaultdict(set)

    def show(self, step: int, numbers: torch.Tensor) -> None:
        with torch._C.DisableTorchFunctionSubclass():  # who looks on takes nothing out of torch
            shown = numbers.tolist()
        for number in shown:
            self.shown[f"record-{number:04d}"].add(step)


class Model(nn.Module):
    """A model of a trainer whose witness is told of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)
        self.witness = Witness()
        self.trainer: Any = None

    def forward(self, x: torch.Tensor, number: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.training:
            self.witness.show(self.trainer.state.global_step, number.flatten())
        return {"loss": self.net(x).square().mean()}


def made(folder: Path, samples: Any, evaluated: Any = None, **options: Any) -> Any:
    quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "logging_strategy": "no"}
    options = {"save_strategy": "no", "per_device_train_batch_size": 4, **quiet, **options}
    model = Model()
    arguments = TrainingArguments(output_dir=str(folder), **options)
    model.trainer = Trainer(model, arguments, train_dataset=samples, eval_dataset=evaluated)
    return model.trainer


def test_a_driven_trainer_replays_its_own_order_to_the_bytes_of_its_twin(
    assert_replays_as_its_twin: Any,
) -> None:
    assert_replays_as_its_twin(PROGRAM)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient_accumulation_steps": 3},
        {"dataloader_num_workers": 2, "gradient_accumulation_steps": 2},
        {"dataloader_drop_last": True, "max_steps": 9},
    ],
    ids=str,
)
def test_a_watched_trainer_is_witnessed_though_it_drops_the_column_of_ids(
    store: Any, people: list[Any], recorded: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    trainer = made(tmp_path, people, num_train_epochs=2, **options)
    with shell.observe(store, "people", "m", trainer, record="id"):
        trainer.train()
    assert recorded(people) == trainer.model.witness.shown


def test_a_packed_sample_names_all_its_documents(
    store: Any, people: list[Any], recorded: Any, tmp_path: Path
) -> None:
    pairs = list(zip(people[::2], people[1::2], strict=True))
    packed = [{"x": a["x"], "number": torch.tensor([a["number"], b["number"]])} for a, b in pairs]
    trainer = made(tmp_path, packed, num_train_epochs=2)
    names = [[a["id"], b["id"]] for a, b in pairs]
    with shell.observe(store, "people", "m", trainer, record=names):
        trainer.train()
    assert recorded(people) == trainer.model.witness.shown
    assert len(trainer.model.witness.shown) == len(people)


def test_a_trainer_goes_on_from_what_it_saved(
    store: Any, people: list[Any], recorded: Any, tmp_path: Path
) -> None:
    options = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 5}
    first = made(tmp_path, people, **options)

    def stop(*_: Any, **__: Any) -> None:
        if first.state.global_step == 7:
            raise InterruptedError

    first.model.register_forward_pre_hook(stop, with_kwargs=True)
    with (
        pytest.raises(InterruptedError),
        shell.observe(store, "people", "m", first, record="id") as run,
    ):
        first.train()
    again = made(tmp_path, people, **options)
    with shell.observe(store, "people", "m", again, record="id", resume=run.id):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    witnessed: dict[str, set[int]] = defaultdict(set)
    for trainer, within in ((first, range(5)), (again, range(5, 99))):
        for name, steps in trainer.model.witness.shown.items():
            witnessed[name] |= steps & set(within)
    assert recorded(people) == {name: steps for name, steps in witnessed.items() if steps}


def test_the_best_model_that_a_trainer_loads_at_its_end_is_published(
    store: Any, people: list[Any], tmp_path: Path, workshop: Any
) -> None:
    saves = {"save_strategy": "epoch", "eval_strategy": "epoch", "num_train_epochs": 2}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss"}
    told = {"label_names": ["number"], "prediction_loss_only": True, "greater_is_better": True}
    trainer = made(tmp_path, people, people, **saves, **best, **told)
    with shell.observe(store, "people", "m", trainer, record="id"):
        trainer.train()
    kept = workshop.rows_of(store, tables.Checkpoint)
    assert sorted((each.step, each.edition) for each in kept) == [(8, 0), (16, 0), (16, 1)]
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-8")
    other = Model()
    restore(store, "m", model=other)
    assert torch.equal(other.net.weight, trainer.model.net.weight)


def test_a_trainer_that_goes_on_from_elsewhere_is_stopped(
    store: Any, people: list[Any], tmp_path: Path
) -> None:
    options = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 5}
    trainer = made(tmp_path, people, **options)
    with shell.observe(store, "people", "m", trainer, record="id"):
        trainer.train()
    again = made(tmp_path, people, **options)
    with (
        pytest.raises(RunError, match=r"goes on after step 5, and run .* was kept at 0"),
        shell.observe(store, "people", "m", again, record="id"),
    ):
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))


def test_a_record_that_is_not_registered_stops_a_trainer(
    store: Any, people: list[Any], tmp_path: Path
) -> None:
    people[7] = {**people[7], "id": "somebody-else"}
    trainer = made(tmp_path, people, num_train_epochs=1)
    with (
        pytest.raises(UnknownRecordError, match="is not in dataset 'people'"),
        shell.observe(store, "people", "m", trainer, record="id"),
    ):
        trainer.train()


def test_a_loss_of_ones_own_may_give_the_model_what_it_likes(
    store: Any, people: list[Any], recorded: Any, tmp_path: Path
) -> None:
    trainer = made(tmp_path, people, num_train_epochs=1)

    def loss(model: nn.Module, inputs: dict[str, Any], **_: Any) -> torch.Tensor:
        found: torch.Tensor = model(inputs["x"], inputs["number"])["loss"]
        return found

    trainer.compute_loss = loss
    with shell.observe(store, "people", "m", trainer, record="id"):
        trainer.train()
    assert recorded(people) == trainer.model.witness.shown


def test_batches_that_do_not_carry_their_records_stop_a_trainer(
    store: Any, people: list[Any], tmp_path: Path
) -> None:
    trainer = made(tmp_path, people, num_train_epochs=1)
    with shell.observe(store, "people", "m", trainer, record="id"):
        watched = trainer.training_step

        def replaced(model: Any, inputs: Any, *about: Any) -> Any:
            made_anew = {name: torch.tensor(each.tolist()) for name, each in inputs.items()}
            return watched(model, made_anew, *about)

        trainer.training_step = replaced
        with pytest.raises(RunError, match="is given a batch that does not carry its records"):
            trainer.train()
        trainer.training_step = watched
        trainer.train()


def test_a_driven_trainer_has_one_epoch_and_saves_nothing(
    people: list[Any], tmp_path: Path
) -> None:
    saving = made(tmp_path, people, num_train_epochs=1, save_strategy="epoch")
    with pytest.raises(ProgramError, match="saves nothing"):
        shell.train(*[None, None, saving])  # type: ignore[arg-type]
