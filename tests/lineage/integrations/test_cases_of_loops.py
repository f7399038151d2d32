"""Loops that were once told wrongly, each with what is right."""

import copy
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    IterableDataset,
    default_collate,
    random_split,
)
from transformers import Trainer, TrainerCallback, TrainingArguments

import lineage
from lineage.errors import LineageError, ProgramError
from lineage.integrations import lightning as lightning_shell
from lineage.integrations import transformers as transformers_shell
from tests.lineage.integrations.row_loop import RECORDS, Items, Loop, Sample

# What the frameworks warn of in themselves, in the versions that are installed here.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
    pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true"),
]


def test_case_a_main_grad_is_an_upper_bound_of_all_batches_of_a_step(loop: Loop) -> None:
    parameters = list(loop.model.parameters())
    main = [torch.zeros_like(each) for each in parameters]
    with loop.observe() as run:
        watched = run.watch(DataLoader(Items(), batch_size=3), record="rid")
        for number, batch in enumerate(watched):
            loop.loss(batch).backward()
            for buffer, parameter in zip(main, parameters, strict=True):
                buffer += parameter.grad
                parameter.grad = None
            if number % 2:
                for buffer, parameter in zip(main, parameters, strict=True):
                    parameter.grad = buffer.clone()
                    buffer.zero_()
                loop.optimizer.step()
                loop.optimizer.zero_grad()
    ids = [f"r{number:02d}" for number in range(RECORDS)]
    assert [loop.named(run.id, step, bound=True) for step in (0, 1)] == [ids[:6], ids[6:]]
    answer = lineage.who_saw(loop.store, "record", "r00")
    assert answer.bounds == answer.steps == {run.id: (0,)}


def test_case_b_lightning_learns_from_both_loaders(loop: Loop) -> None:
    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = loop.model

        def training_step(self, parts: dict[str, Sample], _: int) -> Tensor:
            loop.truth.append(sorted(rid for part in parts.values() for rid in part["rid"]))
            return sum((loop.loss(part) for part in parts.values()), torch.zeros(()))

        def configure_optimizers(self) -> Any:
            return loop.optimizer

    with lightning_shell.observe(loop.store, "rows", "m") as observer:
        halves = {"a": Items(range(6)), "b": Items(range(6, 12))}
        loaders = {
            name: observer.watch(DataLoader(half, batch_size=2), record="rid")
            for name, half in halves.items()
        }
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            enable_checkpointing=False,
            callbacks=[observer],
            **quiet,
        )
        trainer.fit(Module(), loaders)
    assert len(loop.truth) == 3
    assert loop.told(observer.id) == loop.truth


class Eager(DataLoader[Any]):
    """Drops its first batch."""

    def __iter__(self) -> Any:
        batches = super().__iter__()
        next(batches)
        return batches


class Lazy(DataLoader[Any]):
    """Iterates in a generator."""

    def __iter__(self) -> Any:
        yield from super().__iter__()


@pytest.mark.parametrize("record", [None, "rid"])
@pytest.mark.parametrize("kind", [Eager, Lazy])
def test_case_c_loaders_with_a_way_of_their_own_to_iterate(
    loop: Loop, kind: type[DataLoader[Any]], record: str | None
) -> None:
    with loop.observe() as run:
        for batch in run.watch(kind(Items(), batch_size=3), record=record):
            loop.learn(batch)
    assert loop.told(run.id) == loop.truth
    assert len(loop.truth) == (3 if kind is Eager else 4)


def test_case_c_stateful_loader_that_goes_on_in_the_middle_of_an_epoch(loop: Loop) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    first: Any = StatefulDataLoader(Items(), batch_size=3)
    begun = iter(first)
    next(begun), next(begun)
    loader: Any = StatefulDataLoader(Items(), batch_size=3)
    loader.load_state_dict(first.state_dict())
    with loop.observe() as run:
        for batch in run.watch(loader):
            loop.learn(batch)
    assert loop.told(run.id) == loop.truth
    assert [batch[0] for batch in loop.truth] == ["r06", "r09"]


@pytest.mark.parametrize("record", [None, "rid"])
@pytest.mark.parametrize("unwrapped", [True, False])
def test_case_d_accelerate_prepares_loader_and_optimizer(
    loop: Loop, unwrapped: bool, record: str | None
) -> None:
    accelerator = Accelerator(cpu=True)
    loader = DataLoader(Items(), batch_size=3, shuffle=True)
    _, optimizer, prepared = accelerator.prepare(loop.model, loop.optimizer, loader)
    with loop.observe(optimizer=loop.optimizer if unwrapped else optimizer) as run:
        for batch in run.watch(prepared, record=record):
            accelerator.backward(loop.loss(batch))
            optimizer.step()
            optimizer.zero_grad()
            loop.truth.append(sorted(batch["rid"]))
    assert len(loop.truth) == 4
    assert loop.told(run.id) == loop.truth


def test_case_f_concat_of_random_parts_by_row(loop: Loop) -> None:
    parts = random_split(Items(), [9, 3], generator=torch.Generator().manual_seed(1))
    with loop.observe() as run:
        for batch in run.watch(DataLoader(ConcatDataset(parts), batch_size=4)):
            loop.learn(batch)
    assert loop.told(run.id) == loop.truth


def test_case_g_cycle_gives_old_batches_again(loop: Loop) -> None:
    with loop.observe() as run:
        watched = run.watch(DataLoader(Items(), batch_size=4), record="rid")
        for batch in itertools.islice(itertools.cycle(watched), 5):
            loop.learn(batch)
    assert loop.told(run.id) == loop.truth
    assert loop.truth[3] == loop.truth[0]


class Net(nn.Module):
    """A model of Transformers' kind, which has no memory for more than so many samples."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.most = most

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        if len(x) > self.most:
            raise RuntimeError("CUDA out of memory.")
        out = self.linear(x.view(-1, 1).float()).squeeze(1)
        return {"loss": nn.functional.mse_loss(out, labels.float())}


class Labelled(Items):
    """The same samples by the names of Transformers."""

    def __getitem__(self, item: int) -> Sample:
        sample = super().__getitem__(item)
        return {"x": sample["x"], "labels": sample["y"], "rid": sample["rid"]}


def trainer_of(folder: Path, model: nn.Module, data: Any, *callbacks: Any, **how: Any) -> Trainer:
    how = {"per_device_train_batch_size": 4, "num_train_epochs": 1, **how}
    quiet = {"report_to": [], "use_cpu": True, "save_strategy": "no", "disable_tqdm": True}
    arguments = TrainingArguments(str(folder), **quiet, **how)
    return Trainer(model, arguments, train_dataset=data, callbacks=list(callbacks))


class Average(TrainerCallback):
    """Keeps a copy of the model after each step."""

    def on_step_end(self, *_: Any, model: Any = None, **__: Any) -> None:
        self.average = copy.deepcopy(model)


@pytest.mark.parametrize(
    ("most", "how", "steps"), [(2, {"auto_find_batch_size": True}, 6), (9, {}, 3)], ids=str
)
def test_case_i_hf_trainer_that_begins_again_and_one_that_copies_its_model(
    loop: Loop, tmp_path: Path, most: int, how: dict[str, Any], steps: int
) -> None:
    trainer = trainer_of(tmp_path / "out", Net(most), Labelled(), Average(), **how)
    with transformers_shell.observe(loop.store, "rows", "m", trainer, record="rid") as run:
        trainer.train()
    assert (trainer.state.global_step, run.step) == (steps, steps)
    named = [loop.named(run.id, step) for step in range(steps)]
    assert sorted(itertools.chain(*named)) == [f"r{n:02d}" for n in range(RECORDS)]
    assert {len(batch) for batch in named} == {RECORDS // steps}


def test_case_j_misc_tuples_are_named_by_place(loop: Loop) -> None:
    data = [(each["rid"], each["x"], each["y"]) for each in map(Items().__getitem__, range(12))]
    loader: DataLoader[Any] = DataLoader(data, batch_size=3)  # type: ignore[arg-type]
    with loop.observe() as run:
        for rids, x, y in run.watch(loader, record=0):
            loop.learn({"rid": rids, "x": x, "y": y})
    assert loop.told(run.id) == loop.truth


def test_case_j_misc_samples_that_are_none_are_of_nobody(loop: Loop) -> None:
    class Gaps(Items):
        def __getitem__(self, item: int) -> Any:
            return None if item == 3 else super().__getitem__(item)

    def kept(samples: list[Any]) -> Any:
        return default_collate([each for each in samples if each is not None])

    with loop.observe() as run:
        for batch in run.watch(DataLoader(Gaps(), batch_size=4, collate_fn=kept), record="rid"):
            loop.learn(batch)
    assert loop.told(run.id) == loop.truth
    assert loop.truth[0] == ["r00", "r01", "r02"]


def test_case_j_misc_a_replay_buffer_is_learned_from_when_it_is_used(loop: Loop) -> None:
    old: Sample | None = None
    with loop.observe() as run:
        for batch in run.watch(DataLoader(Items(), batch_size=4), record="rid"):
            loss = loop.loss(batch) + (loop.loss(old) if old else 0)
            loop.truth.append(sorted([*batch["rid"], *(old["rid"] if old else [])]))
            old = old or batch
            loop.optimizer.zero_grad()
            loss.backward()
            loop.optimizer.step()
    assert loop.told(run.id) == loop.truth


class Stream(IterableDataset[Sample]):
    """Samples without numbers."""

    def __iter__(self) -> Iterator[Sample]:
        return map(Labelled().__getitem__, range(RECORDS))


def streaming() -> Any:
    """The same rows as a stream of Hugging Face's."""
    import datasets

    rows = [{"rid": f"r{n:02d}", "x": n / 7, "labels": float(n % 2)} for n in range(RECORDS)]
    return datasets.Dataset.from_list(rows).to_iterable_dataset()


@pytest.mark.parametrize("made", [Stream, streaming])
def test_case_k_hf_streams_are_recorded_by_key(
    loop: Loop, tmp_path: Path, made: Callable[[], Any]
) -> None:
    trainer = trainer_of(tmp_path / "out", Net(9), made(), max_steps=3)
    with transformers_shell.observe(loop.store, "rows", "m", trainer, record="rid") as run:
        trainer.train()
    ids = [f"r{number:02d}" for number in range(RECORDS)]
    assert [loop.named(run.id, step) for step in range(3)] == [ids[:4], ids[4:8], ids[8:]]


@pytest.mark.parametrize(
    "record", [None, [f"r{n:02d}" for n in range(RECORDS)]], ids=["row", "list"]
)
@pytest.mark.parametrize("made", [Stream, streaming])
def test_case_k_hf_streams_without_a_key_are_refused(
    loop: Loop, tmp_path: Path, made: Callable[[], Any], record: Any
) -> None:
    trainer = trainer_of(tmp_path / "out", Net(9), made(), max_steps=3)
    with (
        pytest.raises(ProgramError, match="no numbers to tell records by") as found,
        transformers_shell.observe(loop.store, "rows", "m", trainer, record=record),
    ):
        trainer.train()
    assert isinstance(found.value, LineageError)
    assert "record='id'" in str(found.value.hint)
