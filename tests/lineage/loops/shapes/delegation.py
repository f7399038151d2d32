"""What a loop reads of its watched loader, sets on it, and does with it again."""

import copy
from itertools import chain
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset, default_collate

from tests.lineage.loops.harness import Env, error
from tests.lineage.loops.samples import Batch, Sample, Stream, Tuples
from tests.lineage.loops.shape import ADMITTED, EXACT_OR_REFUSED, KEY, UNKNOWN, shape


class Scaled:
    """A collate function with an attribute."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def __call__(self, samples: list[Sample]) -> Batch:
        """Return a batch with scaled inputs."""
        batch: Batch = default_collate(samples)
        return {**batch, "x": batch["x"] * self.factor}


@shape("sets an attribute of its collate function before each epoch")
def collate_attribute(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(collate_fn=Scaled()), **env.named)
        for epoch in range(2):
            assert loader.collate_fn.factor == max(1.0, epoch)
            loader.collate_fn.factor = 1.0 + epoch
            env.train(loader, 1)


@shape("sets another collate function in the middle")
def collate_replaced(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(), **env.named)
        env.train(loader, 1)
        loader.collate_fn = Scaled(2.0)
        env.train(loader, 1)


@shape("gives its loader another generator")
def generator_replaced(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        loader.generator = torch.Generator().manual_seed(5)
        loader.sampler.generator = torch.Generator().manual_seed(5)
        env.train(loader)


@shape("looks at an item of its stream first", by=KEY)
def stream_peeked_at(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(Stream()), **env.named)
        assert "x" in next(iter(loader.dataset))
        env.train(loader)


@shape("looks at an item first, and loads items without batches", by=KEY)
def unbatched_peeked_at(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(batch_size=None), **env.named)
        assert "x" in loader.dataset[0]
        for each in loader:
            env.learn({"x": each["x"][None], "y": each["y"][None]})


@shape("makes another loader of the dataset of the watched one", allowed=UNKNOWN)
def rebuilt(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(), **env.named)
        env.train(loader, 1)
        env.train(DataLoader(loader.dataset, batch_size=4), 1)


def _anew(env: Env, part: Any) -> None:
    """Train on a loader of a part of the watched one's dataset, with its collate function."""
    with env.observe() as run:
        loader = run.watch(env.loader(Tuples()), **env.named_tuples)
        made = part(loader.dataset, [7, 3, 10, 2, 11])
        anew = env.loader(made, batch_size=2, collate_fn=loader.collate_fn)
        for _, x, y in chain(loader, anew):
            env.learn({"x": x, "y": y})


@shape("makes another loader of a part of the dataset, with the same collate function")
def rebuilt_of_part(env: Env) -> None:
    _anew(env, Subset)


class Cut(Subset[Any]):
    """A part that makes shorter lists of those that it is given."""

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return super().__getitems__(indices)[:1]


class Shortened(Subset[Any]):
    """A part that takes a sample out of each list that it is given."""

    def __getitems__(self, indices: list[int]) -> list[Any]:
        samples = super().__getitems__(indices)
        if len(samples) > 1:
            samples.pop()
        return samples


class Exchanged(Subset[Any]):
    """A part that puts another sample into each list that it is given."""

    def __getitems__(self, indices: list[int]) -> list[Any]:
        samples = super().__getitems__(indices)
        samples[0] = self.dataset[5]
        return samples


@shape("makes another loader of a part that makes shorter lists", by_row=ADMITTED)
def rebuilt_and_cut(env: Env) -> None:
    _anew(env, Cut)


@shape("makes another loader of a part that takes a sample out of each list", by_row=ADMITTED)
def rebuilt_and_shortened(env: Env) -> None:
    _anew(env, Shortened)


@shape("makes another loader of a part that exchanges samples", by_row=ADMITTED)
def rebuilt_and_exchanged(env: Env) -> None:
    _anew(env, Exchanged)


@shape("watches a loader with persistent workers anew in each epoch", workers=(2,))
def watched_again(env: Env) -> None:
    loader = env.loader(shuffle=True, persistent_workers=True)
    with env.observe() as run:
        for _ in range(3):
            for batch in run.watch(loader, **env.named):
                env.learn(batch)


@shape("copies inputs that have gradients of their own")
def copied_inputs(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(), **env.named):
            batch["x"].requires_grad_(True)
            env.learn(copy.deepcopy(batch))


@shape("copies a parameter that is made of a batch", allowed=EXACT_OR_REFUSED)
def copied_parameter(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(), **env.named):
            held: Any = torch.nn.Module()
            held.weight = torch.nn.Parameter(batch["x"].clone())
            assert isinstance(copy.deepcopy(held).weight, torch.nn.Parameter)
            env.optimizer.zero_grad()
            error(env.model(batch["x"]), batch["y"]).backward()
            env.optimizer.step()
