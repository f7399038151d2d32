"""Ways to carry a batch into a later step: in containers, buffers, other types, other functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, default_collate

from tests.lineage.loops.harness import Env, error
from tests.lineage.loops.oracle import RECORDS
from tests.lineage.loops.samples import Batch, Items, Sample, sample
from tests.lineage.loops.shape import ADMITTED, BOUNDED, EXACT, KEY, TOLD, UNKNOWN, shape


def _each(env: Env, learn: Callable[[Any, Any], Any], dataset: Any = None, **options: Any) -> None:
    """Do something with each batch and with what it returned for the one before."""
    with env.observe() as run:
        before = None
        for batch in run.watch(env.loader(dataset, **options), **env.named):
            before = learn(batch, before)


def _learn(env: Env, batch: Batch, old: Any = None) -> None:
    """Learn from a batch, and from inputs of earlier ones."""
    loss = env.loss(batch)
    if old is not None:
        loss = loss + error(env.model(old), torch.tensor(20.0))
    env.optimizer.zero_grad()
    loss.backward()
    env.optimizer.step()


class Held(list[Any]):
    """A list of somebody's own."""


class Pair(NamedTuple):
    """Two of anything."""

    one: Any
    other: Any


@dataclass
class Inputs:
    """An input in an object."""

    x: Any


@dataclass
class Nested:
    """An object that holds another one."""

    inputs: Inputs
    y: Any


class Node:
    """A sample in a graph of samples that refer to each other."""

    def __init__(self, made: Sample) -> None:
        self.x, self.y = made["x"], made["y"]
        self.near: list[Node] = []


class Image(Tensor):
    """A tensor of a class of its own."""


def as_nested(samples: list[Sample]) -> Nested:
    """Collate an object in an object."""
    batch = default_collate(samples)
    return Nested(Inputs(batch["x"]), batch["y"])


def as_nodes(samples: list[Sample]) -> list[Node]:
    """Collate objects that refer to each other in circles."""
    nodes = [Node(each) for each in samples]
    for node in nodes:
        node.near = nodes
    return nodes


def as_arrays(samples: list[Sample]) -> Batch:
    """Collate the inputs as an array of NumPy."""
    return {**default_collate(samples), "x": np.stack([each["x"].numpy() for each in samples])}


class Images(Items):
    """Samples whose inputs are of a class of their own."""

    def __getitem__(self, item: int) -> Sample:
        made = super().__getitem__(item)
        return {**made, "x": made["x"].as_subclass(Image)}  # type: ignore[no-untyped-call]


@shape("keeps inputs in a list of its own class, and learns from two of them", allowed=BOUNDED)
def own_list(env: Env) -> None:
    held = Held()

    def learn(batch: Batch, _: Any) -> None:
        held.append(batch["x"].clone())
        _learn(env, batch, torch.cat(Held(held[-2:])))

    _each(env, learn)


@shape("joins inputs out of a named tuple", allowed=BOUNDED)
def named_tuple(env: Env) -> None:
    def learn(batch: Batch, old: Any) -> Tensor:
        _learn(env, batch, None if old is None else torch.cat(Pair(old, batch["x"])))
        return batch["x"]

    _each(env, learn)


@shape("has batches that are objects in objects, and mixes each with the one before")
def nested_objects(env: Env) -> None:
    def learn(batch: Nested, old: Any) -> Tensor:
        x = batch.inputs.x
        env.learn({"x": x if old is None else 0.5 * x + 0.5 * old, "y": batch.y})
        return x

    _each(env, learn, collate_fn=as_nested)


@shape("has batches of objects that refer to each other in circles")
def circles(env: Env) -> None:
    def learn(batch: list[Node], _: Any) -> None:
        env.learn({name: torch.stack([getattr(n, name) for n in batch]) for name in ("x", "y")})

    _each(env, learn, collate_fn=as_nodes)


@shape("has batches with inputs of NumPy", allowed=UNKNOWN)
def arrays(env: Env) -> None:
    def learn(batch: Batch, old: Any) -> Tensor:
        x = torch.from_numpy(batch["x"])
        env.learn({**batch, "x": x if old is None else 0.5 * x + 0.5 * old})
        return x

    _each(env, learn, collate_fn=as_arrays)


@shape("has batches with tensors of a class of their own", allowed=UNKNOWN)
def own_tensors(env: Env) -> None:
    def learn(batch: Batch, old: Any) -> Tensor:
        x = batch["x"]
        env.learn({**batch, "x": x if old is None else 0.5 * x + 0.5 * old})
        return x

    _each(env, learn, dataset=Images())


@shape("keeps inputs in memory that NumPy gave", allowed=TOLD)
def memory_of_numpy(env: Env) -> None:
    memory = np.zeros((3, RECORDS), np.float32)
    buffer = torch.from_numpy(memory)

    def learn(batch: Batch, old: Any) -> bool:
        _learn(env, batch, torch.from_numpy(memory.copy()) if old else None)
        buffer[:] = batch["x"]
        return True

    _each(env, learn)


@shape("keeps a mean of inputs in NumPy", allowed=ADMITTED)
def mean_in_numpy(env: Env) -> None:
    mean = np.zeros(RECORDS, np.float32)

    def learn(batch: Batch, _: Any) -> None:
        mean[:] = 0.9 * mean + 0.1 * batch["x"].mean(0).numpy()
        env.learn({**batch, "x": batch["x"] - torch.from_numpy(mean)})

    _each(env, learn)


@shape("keeps a mean of inputs in batch normalisation that no checkpoint keeps", allowed=BOUNDED)
def running_mean(env: Env) -> None:
    norm = nn.BatchNorm1d(RECORDS, affine=False)

    def learn(batch: Batch, _: Any) -> None:
        norm.train()(batch["x"])
        env.learn({**batch, "x": norm.eval()(batch["x"])})

    _each(env, learn)


@shape("puts its inputs into a buffer of the model, and keeps checkpoints", allowed=BOUNDED)
def module_buffer(env: Env) -> None:
    env.model.register_buffer("last", None, persistent=False)
    with env.observe() as run:
        old = None
        for batch in run.watch(env.loader(), **env.named):
            env.model.last = batch["x"]
            _learn(env, batch, old)
            run.checkpoint()
            old = batch["x"]


@shape("writes inputs into a parameter, and learns from it at the next step", allowed=TOLD)
def into_parameter(env: Env) -> None:
    kept = nn.Parameter(torch.zeros(3, RECORDS), requires_grad=False)

    def learn(batch: Batch, old: Any) -> bool:
        _learn(env, batch, kept if old else None)
        kept[:] = batch["x"]
        return True

    _each(env, learn)


@shape("copies inputs by constructors, and learns from them at the next step", allowed=TOLD)
def constructors(env: Env) -> None:
    def learn(batch: Batch, old: Any) -> Tensor:
        made = None
        if old is not None:
            made = torch.as_tensor(old, dtype=torch.float64).float()
            made = torch.asarray(made, dtype=torch.float64).float()
        _learn(env, batch, made)
        return batch["x"]

    _each(env, learn)


@shape("nests tensors of several batches", allowed=TOLD)
def nested_tensors(env: Env) -> None:
    def learn(batch: Batch, old: Any) -> Tensor:
        made = None
        if old is not None:
            made = torch.nested.as_nested_tensor([old, batch["x"]], layout=torch.jagged).values()
        _learn(env, batch, made)
        return batch["x"]

    _each(env, learn)


@shape("learns beside it from samples that both loaders hand out", allowed=UNKNOWN, by=KEY)
def shared_samples(env: Env) -> None:
    samples = [sample(number) for number in range(RECORDS)]
    with env.observe() as run:
        own = run.watch(DataLoader(Subset(samples, range(6)), 3, collate_fn=list), record="rid")  # type: ignore[arg-type]
        other = DataLoader(Subset(samples, [0, 11, 1, 10, 2, 9]), 3, collate_fn=list)  # type: ignore[arg-type]
        for one, two in zip(own, other, strict=True):
            env.learn(default_collate([*one, *two]))


@shape("makes a weight of its first batch", allowed=TOLD)
def weight_of_a_batch(env: Env) -> None:
    def learn(batch: Batch, old: Any) -> bool:
        if not old:
            env.model.book = nn.Parameter(batch["x"].mean(0, keepdim=True).clone())
            env.optimizer.add_param_group({"params": [env.model.book]})
        env.learn({**batch, "x": batch["x"] + 0 * env.model.book.detach()})
        return True

    _each(env, learn)


@shape("keeps gradients that it computed in the memory of its optimizer", allowed=EXACT)
def momentum_of_its_own(env: Env) -> None:
    optimizer = env.follow(
        torch.optim.SGD(env.model.parameters(), lr=0.1, momentum=0.9), "gradients"
    )
    with env.observe(optimizer=optimizer) as run:
        for batch in run.watch(env.loader(), **env.named):
            with torch.no_grad():
                env.model.weight.grad = (env.model(batch["x"]) - batch["y"]) @ batch["x"]
            optimizer.step()
            run.checkpoint()
