"""SISA slices (Bourtoule et al. 2021, arXiv 1912.03817): how many epochs each stage has.

Slices are an order of exposure within one run: stage ``i`` trains slices ``0..i`` of its shard.
"""

from collections.abc import Sequence
from itertools import accumulate

from lineage.errors import ScheduleError
from lineage.schedule.stable import Stage


def stage_epochs(epochs: int, slices: int) -> tuple[int, ...]:
    """Spread the work of ``epochs`` epochs over the whole shard on ``slices`` growing stages.

    The ideal is ``2 * epochs / (slices + 1)`` a stage (Bourtoule et al., section V). Each stage
    gets that rounded down, or one more, so that with equal slices the work is *exactly* that of the
    unsliced run: ``sum(e[i] * (i + 1)) == epochs * slices``. Every remainder is a sum of distinct
    stage sizes; the largest are taken first, because the records of late slices are seen least.

    >>> stage_epochs(10, 3), stage_epochs(10, 1), stage_epochs(4, 3)
    ((5, 5, 5), (10,), (2, 2, 2))
    >>> stage_epochs(10, 4)
    (4, 4, 4, 4)
    >>> stage_epochs(5, 3)
    (2, 2, 3)

    Raises:
        ScheduleError: some stage would have no epoch, that is ``2 * epochs < slices + 1``.
    """
    each = 2 * epochs // (slices + 1)
    if each < 1:
        raise ScheduleError(
            f"{epochs} epochs are too few to spread over {slices} slices",
            hint=f"try --epochs {slices // 2 + 1} or --slices {2 * epochs - 1}",
        )
    rest = epochs * slices - each * slices * (slices + 1) // 2
    chosen = [each] * slices
    for size in range(slices, 0, -1):
        if size <= rest:
            chosen[size - 1] += 1
            rest -= size
    return tuple(chosen)


def stages_for(
    epochs: int | Sequence[int], nominal: Sequence[int], batch_size: int
) -> tuple[Stage, ...]:
    """The stages of one shard with ``nominal[i]`` records in slice ``i``.

    ``epochs`` are spread over the stages as `stage_epochs` does, or given for each of them. An
    epoch of stage ``i`` has ``ceil(sum(nominal[:i + 1]) / batch_size)`` steps.

    >>> stages_for(2, [100, 100, 100], 64)
    (Stage(epochs=1, steps_per_epoch=2), Stage(epochs=1, steps_per_epoch=4), ...

    Raises:
        ScheduleError: there are too few epochs for so many slices, or not one number a slice.
    """
    steps = [-(-records // batch_size) for records in accumulate(nominal)]
    chosen = stage_epochs(epochs, len(nominal)) if isinstance(epochs, int) else tuple(epochs)
    if len(chosen) != len(nominal):
        raise ScheduleError(
            f"{len(chosen)} numbers of epochs were given for {len(nominal)} slices",
            hint="give one number for the whole run, or one for each slice",
        )
    return tuple(Stage(count, length) for count, length in zip(chosen, steps, strict=True))
