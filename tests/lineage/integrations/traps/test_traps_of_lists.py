"""However lists of items become batches, who_saw names the steps that learned from each record."""

from collections.abc import Iterator
from typing import Any

import pytest
from torch.utils.data import Dataset, Subset

RECORDS = 12


class Reusing:
    """Gives one list again and again, each time with other items in it."""

    def __init__(self) -> None:
        self.items: list[int] = []

    def __iter__(self) -> Iterator[list[int]]:
        for start in (0, 4, 8, 2):
            self.items[:] = range(start, start + 4)
            yield self.items

    def __len__(self) -> int:
        return 4


class Emptying(Dataset[Any]):
    """Takes the items it is asked for out of the list that asks."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, places: list[int]) -> list[Any]:
        return [self.samples[places.pop()] for _ in range(len(places))]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_may_use_up_the_list_it_is_given(trial: Any, workers: int) -> None:
    with trial.observe() as run:
        loader = trial.loader(Emptying(trial.samples), batch_size=5, num_workers=workers)
        trial.epochs(run.watch(loader))
    trial.assert_as_judged()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sampler_may_use_its_list_again(trial: Any, workers: int) -> None:
    with trial.observe() as run:
        trial.epochs(run.watch(trial.loader(batch_sampler=Reusing(), num_workers=workers)), 1)
    trial.assert_as_judged()


def test_two_iterators_of_one_loader_are_told_apart(trial: Any) -> None:
    with trial.observe() as run:
        loader = run.watch(trial.loader(batch_size=3))
        others = iter(loader)
        for batch in loader:
            trial.learn(batch)
            trial.learn(next(others))
    trial.assert_as_judged()


@pytest.mark.parametrize(
    "options", [{}, {"num_workers": 2, "persistent_workers": True}], ids=["alone", "workers"]
)
def test_an_epoch_that_is_broken_off_leaves_nothing_for_the_next(
    trial: Any, options: dict[str, Any]
) -> None:
    with trial.observe() as run:
        loader = run.watch(trial.loader(batch_size=2, **options))
        for enough in (2, 1, RECORDS):
            for number, batch in enumerate(loader):
                trial.learn(batch)
                if number == enough:
                    break
    trial.assert_as_judged()


@pytest.mark.parametrize(
    "options", [{}, {"num_workers": 1, "persistent_workers": True}], ids=["alone", "workers"]
)
def test_a_subset_may_be_chosen_anew_and_workers_that_stay_do_not_learn_of_it(
    trial: Any, options: dict[str, Any]
) -> None:
    chosen = [0, 1, 2, 3]
    with trial.observe() as run:
        loader = run.watch(trial.loader(Subset(trial.samples, chosen), batch_size=2, **options))
        trial.epochs(loader, 1)
        chosen[:] = [8, 9, 10, 11]
        trial.epochs(loader, 1)
    trial.assert_as_judged()
    assert bool(trial.recorded()[8]) is not bool(options)
