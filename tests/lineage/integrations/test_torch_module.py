"""A model version as a torch module."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lineage.errors import CheckpointError
from lineage.integrations.torch import EnsembleModule, load_module
from lineage.training import checkpoint as checkpoints
from lineage.training.batch import Batch
from lineage.training.ensemble import Recipe, train
from lineage.training.program import load_program
from storage.catalogue import tables

PROGRAM = """
import torch
from torch import nn
import lineage

@lineage.program
def train(run):
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    optimizer = torch.optim.Adam(model.parameters())
    run.track(model=model, optimizer=optimizer)

    def inputs(batch):
        return torch.from_numpy(batch["x"].astype("float32"))[:, None]

    def predict(batch):
        model.eval()
        with torch.no_grad():
            return model(inputs(batch)).softmax(dim=1)

    run.predictor(predict)
    for batch in run.batches(run.dataset("people")):
        model.train()
        optimizer.zero_grad()
        model(inputs(batch)).square().mean().backward()
        optimizer.step()
"""


@pytest.fixture
def module(store: Any, tally: Any, tmp_path: Path) -> EnsembleModule:
    (tmp_path / "network.py").write_text(PROGRAM)
    tally.register(store)
    program = load_program("network.py:train", tmp_path)
    recipe = Recipe(shards=2, epochs=2, batch_size=16)
    train(store, program, {"people": "people"}, "m", recipe)
    return load_module(store, "m")


@pytest.fixture
def batch() -> Batch:
    values = np.linspace(-1, 1, 7)
    return Batch({"x": values}.__getitem__, np.arange(7), np.arange(7, dtype=np.uint64))


def test_it_holds_every_tracked_module_of_every_shard_and_nothing_else(
    module: EnsembleModule,
) -> None:
    assert isinstance(module, nn.Module)
    assert [list(member) for member in module.members] == [["model"], ["model"]]
    # A linear layer, a normalisation and a linear layer: 8 + 8 + 15 in each of two shards.
    assert sum(parameter.numel() for parameter in module.parameters()) == 2 * 31
    assert not any(part.training for part in module.modules())


def test_called_with_a_batch_it_gives_the_mean_probability(
    module: EnsembleModule, batch: Batch
) -> None:
    answer = module(batch)
    assert answer.dtype == torch.float64
    assert answer.shape == (7, 3)
    assert torch.allclose(answer.sum(dim=1), torch.ones(7, dtype=torch.float64), atol=1e-6)
    inputs = torch.from_numpy(batch["x"].astype(np.float32))[:, None]
    alone = [member["model"](inputs).softmax(dim=1).double() for member in module.members]
    assert torch.equal(answer, torch.stack(alone).mean(dim=0))


def test_its_parameters_are_those_that_were_stored(
    module: EnsembleModule, store: Any, workshop: Any
) -> None:
    for shard, member in enumerate(module.members):
        (row,) = workshop.rows_of(store, tables.ModelMember, shard=shard)
        stored = checkpoints.load(store, row.checkpoint_id)["model"]
        assert list(member["model"].state_dict()) == list(stored)
        for name, value in member["model"].state_dict().items():
            assert torch.equal(value, stored[name])


def test_a_purged_version_is_refused(module: EnsembleModule, store: Any) -> None:
    with store.catalogue.write() as session:
        for checkpoint in session.query(tables.Checkpoint):
            checkpoint.purged_at = store.clock()
    with pytest.raises(CheckpointError, match="was purged"):
        load_module(store, "m")
