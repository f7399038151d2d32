"""Datasets: made of parts of others, put together, or in an order of their own."""

import random
from typing import Any

import torch
from torch.utils.data import (
    ConcatDataset,
    Dataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)

from tests.lineage.loops.harness import Env
from tests.lineage.loops.samples import IDS, Items, Sample, Tuples, feature, sample, target
from tests.lineage.loops.shape import (
    ADMITTED,
    BOUNDED,
    EXACT_OR_REFUSED,
    KEY,
    REFUSED,
    ROW,
    UNKNOWN,
    shape,
)

BOTH = (0, 2)


def _trains(env: Env, dataset: Any, **named: Any) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(dataset, shuffle=True), **(named or env.named)))


@shape("trains on a subset", quick=BOTH)
def subset(env: Env) -> None:
    _trains(env, Subset(env.items, [7, 3, 3, 10, 2]))


@shape("trains on a subset of a subset")
def nested_subset(env: Env) -> None:
    _trains(env, Subset(Subset(env.items, [9, 8, 7, 6, 1, 0]), [5, 0, 2, 3]))


@shape("trains on a part of a random split", quick=BOTH)
def split(env: Env) -> None:
    _trains(env, random_split(env.items, [7, 5])[0])


@shape("chooses its subset anew in each epoch")
def chosen_anew(env: Env) -> None:
    part = Subset(env.items, [1, 2, 3, 4])
    with env.observe() as run:
        loader = run.watch(env.loader(part), **env.named)
        for chosen in ([5, 6, 7, 8], [11, 3, 9, 0]):
            part.indices = chosen
            env.train(loader, 1)


@shape("puts the parts of a random split together again", quick=BOTH)
def split_and_joined(env: Env) -> None:
    one, other = random_split(env.items, [9, 3])
    _trains(env, ConcatDataset([other, one]))


@shape("puts a dataset and a part of itself together", by_row=EXACT_OR_REFUSED)
def joined_with_its_part(env: Env) -> None:
    _trains(env, ConcatDataset([env.items, Subset(env.items, [4, 5])]))


@shape("puts different datasets together", by_row=REFUSED)
def joined(env: Env) -> None:
    _trains(env, ConcatDataset([Items(range(6, 12)), Items(range(6))]))


class FromTheEnd(Subset[Any]):
    """A part that counts its items from the end."""

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[self.indices[-1 - index]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[index] for index in indices]


class Twice(FromTheEnd):
    """A part that has each of its items twice."""

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[self.indices[index // 2]]

    def __len__(self) -> int:
        return 2 * len(self.indices)


class Rotated(ConcatDataset[Any]):
    """Datasets put together, which begin with the fourth item."""

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__((index + 3) % len(self))


def _trains_on_tuples(env: Env, dataset: Any) -> None:
    with env.observe() as run:
        for _, x, y in run.watch(env.loader(dataset), **env.named_tuples):
            env.learn({"x": x, "y": y})


@shape("trains on a subset of a class of its own", by_row=REFUSED)
def own_subset(env: Env) -> None:
    _trains_on_tuples(env, FromTheEnd(Tuples(), range(6)))


@shape("trains on a subset that has each item twice", by_row=REFUSED)
def doubled_subset(env: Env) -> None:
    _trains_on_tuples(env, Twice(Tuples(), range(6)))


@shape("puts datasets together by a class of its own", by_row=REFUSED)
def rotated(env: Env) -> None:
    samples = Tuples()
    _trains_on_tuples(env, Rotated([Subset(samples, range(6)), Subset(samples, range(6, 12))]))


@shape("puts subsets of a class of its own together", by_row=REFUSED)
def own_subsets_joined(env: Env) -> None:
    samples = Tuples()
    parts = FromTheEnd(samples, range(6)), FromTheEnd(samples, range(6, 12))
    _trains_on_tuples(env, ConcatDataset(parts))


@shape("has the records of the file, in another order", by_row=REFUSED, quick=BOTH)
def backwards(env: Env) -> None:
    _trains(env, Items(range(11, -1, -1)))


@shape("has some records of the file", by_row=REFUSED)
def fewer(env: Env) -> None:
    _trains(env, Items(range(2, 12)))


@shape("has records of the file twice", by_row=REFUSED)
def more(env: Env) -> None:
    _trains(env, Items([*range(12), 0, 1]))


class Shuffling(Items):
    """A dataset that orders itself."""

    def order(self) -> None:
        random.shuffle(self.numbers)


@shape("orders its dataset anew in each epoch", by_row=UNKNOWN | BOUNDED)
def orders_itself(env: Env) -> None:
    dataset = Shuffling()
    with env.observe() as run:
        loader = run.watch(env.loader(dataset), **env.named)
        for _ in range(2):
            env.train(loader, 1)
            dataset.order()


class Wrapping(Dataset[Sample]):
    """A dataset around another one, in its order."""

    def __init__(self, dataset: Dataset[Sample]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, item: int) -> Sample:
        made = self.dataset[item]
        return {**made, "x": made["x"] * 3}


@shape("wraps a dataset in one that changes its samples")
def wrapped(env: Env) -> None:
    _trains(env, Wrapping(env.items))


class Turned(Wrapping):
    """A dataset around another one, from its end to its beginning."""

    def __getitem__(self, item: int) -> Sample:
        return super().__getitem__(len(self) - 1 - item)


@shape("wraps a dataset in one that turns its order round", by_row=REFUSED)
def wrapped_and_turned(env: Env) -> None:
    _trains(env, Turned(env.items))


@shape("wraps a subset in a dataset of its own, which hides it", by_row=REFUSED)
def wrapped_subset(env: Env) -> None:
    _trains(env, Wrapping(Subset(env.items, [3, 2, 1, 0, *range(4, 12)])))


class Mending(Items):
    """Gives another sample instead of one that is broken."""

    def __getitem__(self, item: int) -> Sample:
        return super().__getitem__(item - 1 if item == 7 else item)


@shape("gives another sample instead of a broken one", by_row=UNKNOWN | EXACT_OR_REFUSED)
def mends(env: Env) -> None:
    _trains(env, Mending())


class Moving(Items):
    """Swaps two samples far from both ends."""

    def __getitem__(self, item: int) -> Sample:
        return super().__getitem__({6: 7, 7: 6}.get(item, item))


@shape("swaps two samples in the middle", by_row=UNKNOWN | EXACT_OR_REFUSED)
def swaps(env: Env) -> None:
    _trains(env, Moving())


class Mixing(Items):
    """Mixes each sample with another one, as mixup does in a dataset."""

    def __getitem__(self, item: int) -> Sample:
        one, other = super().__getitem__(item), super().__getitem__((item + 5) % 12)
        return {**one, "ids": [one["rid"], other["rid"]], "x": one["x"] * 0.7 + other["x"] * 0.3}


def _ids(made: Sample) -> Any:
    return made["ids"]


@shape("mixes two records in each sample, and names both", by=KEY)
def mixes(env: Env) -> None:
    _trains(env, Mixing(), record=_ids)


@shape("trains on a list of samples")
def plain_list(env: Env) -> None:
    _trains(env, [sample(number) for number in range(12)])


def _tensors() -> TensorDataset:
    x = torch.stack([feature(number) for number in range(12)])
    return TensorDataset(x, torch.tensor([target(number) for number in range(12)]))


@shape("trains on tensors, whose order is said to be the file's", by=ROW, quick=BOTH)
def tensors(env: Env) -> None:
    with env.observe() as run:
        for x, y in run.watch(env.loader(_tensors(), shuffle=True), order="file"):
            env.learn({"x": x, "y": y})


@shape("trains on tensors, and says nothing of their order", by=ROW, allowed=REFUSED)
def tensors_unnamed(env: Env) -> None:
    with env.observe() as run:
        for x, y in run.watch(env.loader(_tensors())):
            env.learn({"x": x, "y": y})


@shape("trains on a part of tensors, whose order is said to be the file's", by=ROW)
def tensors_split(env: Env) -> None:
    with env.observe() as run:
        part = random_split(_tensors(), [7, 5])[0]
        for x, y in run.watch(env.loader(part, shuffle=True), order="file"):
            env.learn({"x": x, "y": y})


@shape("trains on fewer tensors, whose order is said to be the file's", by=ROW, allowed=REFUSED)
def tensors_fewer(env: Env) -> None:
    with env.observe() as run:
        for x, y in run.watch(env.loader(TensorDataset(*_tensors()[:9])), order="file"):
            env.learn({"x": x, "y": y})


@shape("stacks columns to samples", quick=BOTH)
def stacked(env: Env) -> None:
    x, y = _tensors().tensors
    _trains(env, StackDataset(rid=IDS, x=x, y=y))


@shape("names tuples by a function of theirs", by=KEY)
def tuples_by_function(env: Env) -> None:
    with env.observe() as run:
        for _, x, y in run.watch(env.loader(Tuples(), shuffle=True), record=_first):
            env.learn({"x": x, "y": y})


def _first(made: Any) -> Any:
    return made[0]


class Strangers(Items):
    """Samples of which one is of a record that nobody registered."""

    def __getitem__(self, item: int) -> Sample:
        made = super().__getitem__(item)
        return {**made, "rid": "nobody"} if item == 1 else made


@shape("has a record that is not registered, which stops it", by=KEY, allowed=REFUSED)
def unregistered(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(Strangers()), **env.named))


@shape("has a record that is not registered, and goes on", by=KEY, allowed=ADMITTED)
def unregistered_recorded(env: Env) -> None:
    with env.observe(on_unknown="record") as run:
        env.train(run.watch(env.loader(Strangers()), **env.named))


class Silent(Items):
    """Samples that do not say who they are."""

    def __getitem__(self, item: int) -> Sample:
        made = super().__getitem__(item)
        return {key: made[key] for key in ("x", "y")}


@shape("has samples without the key that was named", by=KEY, allowed=REFUSED)
def without_the_key(env: Env) -> None:
    _trains(env, Silent())


@shape("has samples in which no column of the file is", by=ROW, allowed=EXACT_OR_REFUSED)
def without_columns(env: Env) -> None:
    class Bare(Items):
        def __getitem__(self, item: int) -> Sample:
            return {"x": super().__getitem__(item)["x"]}

    with env.observe() as run:
        for batch in run.watch(env.loader(Bare()), order="file"):
            env.learn({"x": batch["x"], "y": torch.full((len(batch["x"]),), 9.0)})
