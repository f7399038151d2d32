"""Optimizers, schedulers, generators and buffers of torch that are not tracked are named."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from lineage.provenance import listing
from lineage.store import Store
from lineage.training.ensemble import Recipe, train
from lineage.training.program import load_program
from storage.catalogue import tables
from tests.workshop import Bench, Clock, rows_of

PROGRAM = """
import copy
import torch
from torch import nn
import lineage

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(1, 1)
        self.register_buffer("steps", torch.zeros(1), persistent=False)
        self.register_buffer("scale", torch.ones(1), persistent=False)
        self.register_buffer("mean", torch.zeros(1))
    def forward(self, x): return self.line(x * self.scale)

@lineage.program
def train(run):
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    decay = torch.optim.lr_scheduler.StepLR(optimizer, 1000)
    tracked = {{"model": model, "optimizer": optimizer, "decay": decay}}
{before}
    run.track(**tracked)
    for batch in run.batches(run.dataset("people")):
        x = torch.from_numpy(batch["x"]).float()[:, None]
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
{step}
"""

Trains = Callable[..., tuple[str, ...]]


@pytest.fixture
def trains(tmp_path: Path) -> Trains:
    """Trains a program with these lines, and returns what it was found not to track."""

    def found(before: str = "", step: str = "", **recipe: Any) -> Any:
        lines = {"before": indent(dedent(before), " " * 4), "step": indent(dedent(step), " " * 8)}
        (tmp_path / "keeper.py").write_text(PROGRAM.format(**lines))
        with Store.create(tmp_path / "store", clock=Clock()) as store:
            Bench(tmp_path, tmp_path).register(store)
            program = load_program("keeper.py:train", tmp_path)
            sizes = Recipe(epochs=2, batch_size=8, checkpoint_every=6, **recipe)
            train(store, program, {"people": "people"}, "m", sizes)
            (run,) = rows_of(store, tables.Run)
            return listing.run(store, run.id).untracked

    return found


SECOND = """
other = nn.Linear(1, 1)
second = torch.optim.{}
"""
LEARNING = "second.zero_grad(); other(x).square().mean().backward(); second.step()"


@pytest.mark.parametrize(
    ("before", "step", "names"),
    [
        ("del tracked['optimizer']", "", ("optimizer (Adam)",)),
        ("del tracked['decay']", "", ("decay (StepLR)",)),
        ("del tracked['decay']; holder = [decay]", "", ("decay (StepLR)",)),
        ("noise = torch.Generator()", "torch.rand(1, generator=noise)", ("noise (Generator)",)),
        ("", "model.steps += 1", ("model.steps (buffer that is not persistent)",)),
        (SECOND.format("SGD(other.parameters())"), LEARNING, ("other (Linear)",)),
        (
            SECOND.format("SGD(other.parameters(), momentum=0.9)"),
            LEARNING,
            ("other (Linear)", "second (SGD)"),
        ),
        (
            "shadow = torch.optim.swa_utils.AveragedModel(model)",
            "shadow.update_parameters(model)",
            ("shadow (AveragedModel)",),
        ),
        (
            "shadow = [p.detach().clone() for p in model.parameters()]",
            "torch._foreach_lerp_(shadow, [p.detach() for p in model.parameters()], 0.1)",
            ("shadow (Tensor)",),
        ),
        ("hidden = torch.zeros(1)", "hidden = (hidden + x.mean()).detach()", ("hidden (Tensor)",)),
        (
            "scaler = torch.amp.GradScaler('cpu')",
            "scaler.scale(loss.detach()); scaler.update(2.0)",
            ("scaler (GradScaler)",),
        ),
    ],
)
def test_what_is_not_tracked_is_named(
    trains: Trains, before: str, step: str, names: tuple[str, ...]
) -> None:
    assert trains(before, step) == names


@pytest.mark.parametrize(
    ("before", "step"),
    [
        ("", ""),
        ("weights = list(model.parameters()); bias = model.line.bias", "decay.step()"),
        ("whole = nn.Sequential(model)", ""),
        ("teacher = copy.deepcopy(model).eval()", "teacher(x)"),
        ("noise = torch.Generator().manual_seed(3); torch.rand(1, generator=noise)", "noise"),
        ("criterion = nn.MSELoss(); loss = None", "criterion(x, x)"),
        ("del tracked['model']; tracked |= {'a': model.line, 'b': model}", "model.mean += 1"),
        ("del tracked['optimizer']; optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
         "del tracked['decay'], decay", ""),
        ("loader = torch.utils.data.DataLoader([1, 2])", "next(iter(loader))"),
    ],
)  # fmt: skip
def test_what_is_tracked_or_does_not_change_raises_no_alarm(
    trains: Trains, capsys: pytest.CaptureFixture[str], before: str, step: str
) -> None:
    assert trains(before, step) == ()
    assert "not tracked" not in capsys.readouterr().err
