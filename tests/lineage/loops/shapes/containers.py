"""What a batch is held in: the forms that samples are collated to."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from tests.lineage.loops.harness import Env
from tests.lineage.loops.samples import IDS, Items, Sample, Tuples, feature, sample, target
from tests.lineage.loops.shape import BOUNDED, EXACT_OR_REFUSED, KEY, REFUSED, ROW, WHOLE, shape

BOTH = (0, 2)


def as_pair(samples: list[Sample]) -> tuple[Tensor, Tensor]:
    return torch.stack([each["x"] for each in samples]), torch.stack(
        [each["y"] for each in samples]
    )


@shape("collates to a tuple", quick=BOTH)
def to_tuple(env: Env) -> None:
    with env.observe() as run:
        for x, y in run.watch(env.loader(collate_fn=as_pair, shuffle=True), **env.named):
            env.learn({"x": x, "y": y})


@dataclass
class Made:
    """A batch of a user's own."""

    x: Tensor
    y: Tensor


def as_dataclass(samples: list[Sample]) -> Made:
    return Made(*as_pair(samples))


@shape("collates to a dataclass", quick=BOTH)
def to_dataclass(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(collate_fn=as_dataclass, shuffle=True), **env.named):
            env.learn({"x": batch.x, "y": batch.y})


class Frozen:
    """A batch with slots, which takes no other attribute."""

    __slots__ = ("x", "y")

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x = x
        self.y = y


def _frozen(samples: list[Sample]) -> Frozen:
    return Frozen(*as_pair(samples))


@shape("collates to an object with slots")
def to_slots(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(collate_fn=_frozen, shuffle=True), **env.named):
            env.learn({"x": batch.x, "y": batch.y})


class Named(NamedTuple):
    """A batch with names."""

    x: Tensor
    y: Tensor


def as_named_tuple(samples: list[Sample]) -> Named:
    return Named(*as_pair(samples))


@shape("collates to a named tuple")
def to_named_tuple(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(collate_fn=as_named_tuple, shuffle=True), **env.named):
            env.learn(batch._asdict())


def _nested(samples: list[Sample]) -> dict[str, Any]:
    x, y = as_pair(samples)
    return {"inputs": {"views": [x, x]}, "targets": [(y,)]}


@shape("collates to nested lists and dicts")
def to_nested(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(collate_fn=_nested), **env.named):
            env.learn({"x": batch["inputs"]["views"][1], "y": batch["targets"][0][0]})


def as_tensor(samples: list[Sample]) -> Tensor:
    return as_pair(samples)[0]


@shape("collates to one tensor")
def to_tensor(env: Env) -> None:
    with env.observe() as run:
        for x in run.watch(env.loader(collate_fn=as_tensor, shuffle=True), **env.named):
            env.learn({"x": x, "y": torch.full((len(x),), 9.0)})


def _arrays(samples: list[Sample]) -> Any:
    return {"x": np.stack([each["x"].numpy() for each in samples])}


@shape("collates to arrays of NumPy", allowed=EXACT_OR_REFUSED)
def to_arrays(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(collate_fn=_arrays, shuffle=True), **env.named):
            x = torch.from_numpy(batch["x"])
            env.learn({"x": x, "y": torch.full((len(x),), 9.0)})


def as_list(samples: list[Sample]) -> list[Sample]:
    return samples


@shape("collates to a list of samples", quick=BOTH)
def to_list(env: Env) -> None:
    with env.observe() as run:
        for samples in run.watch(env.loader(collate_fn=as_list, shuffle=True), **env.named):
            env.learn(default_collate(samples))


@shape("has samples that are tuples, and says what names them", quick=BOTH)
def tuples(env: Env) -> None:
    with env.observe() as run:
        for _, x, y in run.watch(env.loader(Tuples(), shuffle=True), **env.named_tuples):
            env.learn({"x": x, "y": y})


@shape("has samples that are tuples, and says nothing of them", by=ROW, allowed=REFUSED)
def tuples_unnamed(env: Env) -> None:
    with env.observe() as run:
        for _, x, y in run.watch(env.loader(Tuples(), shuffle=True)):
            env.learn({"x": x, "y": y})


class Gaps(Items):
    """Samples of which one cannot be read."""

    def __getitem__(self, item: int) -> Any:
        return None if item == 1 else super().__getitem__(item)


def _read(samples: list[Any]) -> Any:
    return default_collate([each for each in samples if each is not None])


@shape("leaves samples that are None out in its collate function", allowed=EXACT_OR_REFUSED | WHOLE)
def drops_none(env: Env) -> None:
    env.oracle.batch([0, 1, 2])
    with env.observe() as run:
        env.train(run.watch(env.loader(Gaps(), collate_fn=_read), **env.named))


def _even(samples: list[Sample]) -> Any:
    kept = default_collate([each for each in samples if each["number"] % 2 == 0])
    return {**kept, "all": [each["number"] for each in samples]}


@shape("filters in its collate function", allowed=WHOLE | BOUNDED)
def filters(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(collate_fn=_even, shuffle=True), **env.named):
            env.oracle.batch(batch["all"])
            env.learn(batch)


def _packed(samples: list[Sample]) -> dict[str, Tensor]:
    x, y = as_pair(samples)
    return {"x": x.sum(0, keepdim=True), "y": y.sum(0, keepdim=True)}


@shape("packs the samples of a batch into one", quick=BOTH, allowed=BOUNDED)
def packs(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(collate_fn=_packed, shuffle=True), **env.named))


def _anew(samples: list[Sample]) -> dict[str, Tensor]:
    numbers = [each["number"] for each in samples]
    return {"x": torch.eye(12)[numbers] * 2, "y": torch.tensor([target(n) for n in numbers])}


@shape("makes new tensors in its collate function")
def new_tensors(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(collate_fn=_anew, shuffle=True), **env.named))


class Documents(Items):
    """Samples that are made of two records each."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, item: int) -> Sample:
        pair = (item, 11 - item)
        made = sample(item)
        return {**made, "ids": [IDS[n] for n in pair], "x": feature(pair[0]) + feature(pair[1])}


def _ids(made: Sample) -> Any:
    return made["ids"]


@shape("has samples of two records each, named by a function", by=KEY, quick=BOTH)
def documents(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(Documents(), shuffle=True), record=_ids))


class Together(Items):
    """A dataset that gives the samples of a batch at once, and uses its list up."""

    def __getitems__(self, items: list[int]) -> list[Sample]:
        return [self[items.pop(0)] for _ in range(len(items))]


@shape("has a dataset that uses up the list it is given", quick=BOTH)
def uses_up_its_list(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(Together(), shuffle=True), **env.named))
