"""Lightning trainers, driven by a program and only watched, on the real framework.

A sample carries its own id, and the module notes which ids it is shown in which of the trainer's
steps: that witness asks no code of ours.
"""

import copy
from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from torchdata.stateful_dataloader import StatefulDataLoader

from lineage.errors import ProgramError, RunError
from lineage.integrations import lightning as shell
from lineage.integrations.torch import restore
from storage.catalogue import tables

# What Lightning warns of in itself, in the version that is installed here.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
]

PROGRAM = """import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import lineage
from lineage.integrations import lightning as shell
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


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = network()

    def training_step(self, batch, _):
        return nn.functional.mse_loss(self.net(batch["x"]), batch["labels"])

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters())
        steps = self.trainer.estimated_stepping_batches
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return [optimizer], [{"scheduler": cosine, "interval": "step"}]


@lineage.program
def train(run):
    people = run.dataset("people")
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )
    loader = DataLoader(People(Rows(run, people)), batch_size=4, shuffle=True)
    shell.fit(run, people, trainer, Module(), loader)
"""


class Witness:
    """Which ids a model was shown, by the step in which it was."""

    def __init__(self) -> None:
        self.shown: dict[str, set[int]] = defaultdict(set)

    def show(self, step: int, numbers: torch.Tensor) -> None:
        for number in numbers.tolist():
            self.shown[f"record-{number:04d}"].add(step)


class Module(lightning.LightningModule):
    """A module whose witness is told of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)
        self.witness = Witness()

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        self.witness.show(self.trainer.global_step, batch["number"])
        return self.net(batch["x"]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


class Stream(IterableDataset[dict[str, Any]]):
    """Samples without numbers, of which a trainer fetches one ahead to see the end."""

    def __init__(self, people: list[dict[str, Any]]) -> None:
        self.people = people

    def __iter__(self) -> Any:
        return iter(self.people)


def made(*callbacks: Callback, **options: Any) -> lightning.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options = {"enable_checkpointing": False, "accelerator": "cpu", **quiet, **options}
    return lightning.Trainer(callbacks=list(callbacks), **options)


def test_a_driven_trainer_replays_its_own_order_to_the_bytes_of_its_twin(
    assert_replays_as_its_twin: Any,
) -> None:
    assert_replays_as_its_twin(PROGRAM)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulate_grad_batches": 3},
        pytest.param({"limit_train_batches": 5}, marks=pytest.mark.soak),
        {"gradient_clip_val": 0.1, "num_sanity_val_steps": 0},
    ],
    ids=str,
)
def test_a_watched_trainer_is_witnessed(
    store: Any, people: list[Any], recorded: Any, options: dict[str, Any]
) -> None:
    module = Module()
    with shell.observe(store, "people", "m") as observer:
        loader = observer.watch(DataLoader(people, batch_size=4, shuffle=True), record="id")
        made(observer, max_epochs=2, **options).fit(module, loader)
    assert recorded(people) == module.witness.shown


def test_what_a_trainer_fetched_ahead_and_dropped_was_never_seen(
    store: Any, people: list[Any], recorded: Any
) -> None:
    module = Module()
    with shell.observe(store, "people", "m") as observer:
        loader = observer.watch(DataLoader(Stream(people), batch_size=4), record="id")
        made(observer, max_epochs=3, limit_train_batches=3).fit(module, loader)
    assert recorded(people) == module.witness.shown
    assert len(module.witness.shown) == 12


def test_a_trainers_checkpoints_have_a_checkpoint_each(
    store: Any, people: list[Any], tmp_path: Path, workshop: Any
) -> None:
    with shell.observe(store, "people", "m") as observer:
        trainer = made(observer, max_epochs=3, enable_checkpointing=True, default_root_dir=tmp_path)
        trainer.fit(Module(), observer.watch(DataLoader(people, batch_size=5), record="id"))
    kept = workshop.rows_of(store, tables.Checkpoint)
    assert sorted(each.step for each in kept) == [6, 12, 18]


class Dies(Callback):
    """Ends the process's training as a lost machine would, before a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise InterruptedError


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("loader", [DataLoader, StatefulDataLoader])
def test_a_trainer_goes_on_in_the_middle_of_an_epoch(
    store: Any, people: list[Any], tmp_path: Path, recorded: Any, loader: type[DataLoader[Any]]
) -> None:
    def fitted(module: Module, observer: Any, *callbacks: Callback, **about: Any) -> None:
        saves = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1, filename="{step}")
        trainer = made(observer, saves, *callbacks, max_epochs=2, enable_checkpointing=True)
        watched = observer.watch(loader(people, batch_size=4, shuffle=True), record="id")
        trainer.fit(module, watched, **about)

    first, again = Module(), Module()
    with pytest.raises(InterruptedError), shell.observe(store, "people", "m") as observer:
        fitted(first, observer, Dies(5))
    with shell.observe(store, "people", "m", resume=observer.id) as observer:
        fitted(again, observer, ckpt_path=str(tmp_path / "step=3.ckpt"))
    witnessed: dict[str, set[int]] = defaultdict(set)
    for module, within in ((first, range(3)), (again, range(3, 99))):
        for name, steps in module.witness.shown.items():
            witnessed[name] |= steps & set(within)
    assert max(max(steps, default=0) for steps in witnessed.values()) > 7
    assert recorded(people) == {name: steps for name, steps in witnessed.items() if steps}


class Best(Callback):
    """Keeps the weights that the first epoch ended with."""

    weights: dict[str, Any] | None = None

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.weights = self.weights or copy.deepcopy(pl_module.state_dict())


def test_best_weights_that_are_loaded_back_after_a_fit_are_published(
    store: Any, people: list[Any], tmp_path: Path, workshop: Any
) -> None:
    module, best = Module(), Best()
    saves = {"enable_checkpointing": True, "default_root_dir": tmp_path}
    with shell.observe(store, "people", "m") as observer:
        trainer = made(observer, best, max_epochs=2, **saves)
        trainer.fit(module, observer.watch(DataLoader(people, batch_size=5), record="id"))
        module.load_state_dict(best.weights)
    kept = workshop.rows_of(store, tables.Checkpoint)
    assert sorted((each.step, each.edition) for each in kept) == [(6, 0), (12, 0), (12, 1)]
    other = Module()
    restore(store, "m", model=other)
    assert torch.equal(other.net.weight, module.net.weight)


def test_a_run_that_is_resumed_without_a_fit_keeps_what_it_had(
    store: Any, people: list[Any], tmp_path: Path, workshop: Any
) -> None:
    def stops_after_its_fit(observer: shell.Observer) -> None:
        best = ModelCheckpoint(tmp_path, every_n_train_steps=6)
        trainer = made(observer, best, max_epochs=1, enable_checkpointing=True)
        trainer.fit(Module(), observer.watch(DataLoader(people, batch_size=5), record="id"))
        raise InterruptedError

    with pytest.raises(InterruptedError), shell.observe(store, "people", "m") as observer:
        stops_after_its_fit(observer)
    with shell.observe(store, "people", "m", resume=observer.id):
        pass
    (kept,) = workshop.rows_of(store, tables.Checkpoint)
    (member,) = workshop.rows_of(store, tables.ModelMember)
    assert (kept.step, member.checkpoint_id) == (6, kept.id)


def test_a_loader_that_is_not_watched_stops_training(store: Any, people: list[Any]) -> None:
    with (
        pytest.raises(RunError, match=r"loader 0 of run .* is not watched"),
        shell.observe(store, "people", "m") as observer,
    ):
        made(observer, max_epochs=1).fit(Module(), DataLoader(people, batch_size=4))


def test_a_driven_trainer_has_one_epoch_of_steps(people: list[Any]) -> None:
    several: Any = made(max_epochs=2)
    with pytest.raises(ProgramError, match="has one epoch, whose batches are optimizer steps"):
        shell.fit(*[None, None, several, Module(), DataLoader(people)])  # type: ignore[arg-type]
