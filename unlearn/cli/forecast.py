"""The verb ``forecast``: the cost of forgetting, before it happens."""

from functools import partial
from itertools import product
from math import inf
from typing import TYPE_CHECKING, Any

import click

from unlearn.cli.call import Call, Verb, pass_call

if TYPE_CHECKING:
    from unlearn.plan.coalescing import Rule
    from unlearn.plan.forecast.stream import Arrivals, Forecast

COUNT = click.IntRange(min=1)
POLICIES = ("latest-start", "at-once", "batch")


def _counts(_context: object, _option: object, text: str) -> tuple[int, ...]:
    """The numbers of ``N[,N…]``."""
    counts = [each.strip() for each in text.split(",")]
    if not all(each.isascii() and each.isdigit() and int(each) for each in counts):
        raise click.BadParameter(f"{text!r} is not N[,N…] of whole numbers from 1 on")
    return tuple(map(int, counts))


def _amount(_context: object, _option: object, value: float | None) -> float | None:
    """A number above 0, if one was given."""
    if value is not None and not 0 < value < inf:
        raise click.BadParameter(f"{value} is not a number above 0")
    return value


_amount_option = partial(click.option, type=float, callback=_amount)


@click.command(
    cls=Verb, example="expunge forecast --records 60000 --shards 1,5,20 --slices 1,4 --batch 8"
)
@click.option("--run", "run_id", metavar="ID", help="Of this run, as it is now.")
@click.option("--records", metavar="N", type=COUNT, help="How many records are trained on.")
@click.option("--shards", metavar="S[,S…]", callback=_counts, default="1", show_default=True)
@click.option("--slices", metavar="R[,R…]", callback=_counts, default="1", show_default=True)
@click.option("--epochs", metavar="E", type=COUNT, default=10, show_default=True)
@click.option("--batch", metavar="K", type=COUNT, default=1, help="Requests served together.")
@_amount_option("--rate", metavar="N", help="Requests a day: let them come at random.")
@_amount_option("--deadline", metavar="DAYS", default=30, help="Of a request; 30 by default.")
@_amount_option("--days", metavar="DAYS", default=60, help="How long they come; 60 by default.")
@click.option("--policy", type=click.Choice(POLICIES), default=POLICIES[0], show_default=True)
@click.option("--workers", metavar="N", type=COUNT, default=1, show_default=True)
@_amount_option("--seconds-per-visit", metavar="X", help="What a visit takes; gives hours.")
@click.option("--checkpoint-bytes", metavar="N", type=COUNT, help="What a checkpoint takes.")
@click.option("--metric", metavar="NAME", help="Show how good trained models were by it.")
@click.option("--seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True)
@pass_call
def forecast(call: Call, /, run_id: str | None, records: int | None, **how: Any) -> None:
    """Say what forgetting will cost: by closed form, by simulation, or of a run that there is."""
    if (run_id is None) == (records is None):
        raise click.UsageError("give either --records N, or --run ID")
    if run_id is not None:
        _of_run(call, run_id)
    else:
        _of_topologies(call, records=records, **how)


def _of_run(call: Call, run_id: str) -> None:
    from unlearn.plan.forecast.run import forecast_run

    with call.open() as store:
        call.out.one(forecast_run(store, run_id))
    call.then(f"run thin {run_id} --keep N --dry-run")


def _of_topologies(
    call: Call,
    *,
    shards: tuple[int, ...],
    slices: tuple[int, ...],
    metric: str | None,
    **how: Any,
) -> None:
    from unlearn.plan.forecast.measured import accuracies
    from unlearn.plan.forecast.stream import sweep

    found = [_forecast(*each, **how) for each in product(shards, slices)]
    measured: dict[tuple[int, int], float] = {}
    if metric is not None:
        with call.open() as store:
            measured = accuracies(store, metric)
    if len(found) == 1 and metric is None:
        call.out.one(found[0])
    else:
        call.out.many(sweep(found, measured))


def _forecast(
    shards: int,
    slices: int,
    *,
    records: int,
    epochs: int,
    batch: int,
    rate: float | None,
    seed: int,
    seconds_per_visit: float | None,
    checkpoint_bytes: int | None,
    **stream: Any,
) -> "Forecast":
    from unlearn.plan.forecast.stream import forecast as foresee

    return foresee(
        records,
        shards,
        slices,
        epochs,
        batch,
        None if rate is None else _arrivals(rate, batch, **stream),
        seconds_per_visit=seconds_per_visit or 0.0,
        checkpoint_bytes=checkpoint_bytes,
        seed=seed,
    )


def _arrivals(
    rate: float,
    batch: int,
    *,
    deadline: float,
    days: float,
    policy: str,
    workers: int,
) -> "Arrivals":
    from unlearn.plan.coalescing import AtOnce, LatestStart, MaximumBatch
    from unlearn.plan.forecast.stream import Arrivals

    policies: dict[str, Rule] = {
        "latest-start": LatestStart(),
        "at-once": AtOnce(),
        "batch": MaximumBatch(batch),
    }
    return Arrivals(rate, deadline, days, policies[policy], workers)
