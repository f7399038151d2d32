"""What 100 requests cost over 60 days when each may wait 30: by placement, by waiting, by both.

Visits recomputed on MNIST's 60,000 records, of 10 epochs, beside SISA that serves each request at
once and beside one full retraining for all that wait. A request is for one record, drawn by its
hazard; the risk that records are placed by is that hazard. Hazards are log-normal, or all alike.

python benchmarks/waiting.py [--json out.json]     reads MNIST from EXPUNGE_DATA, or ../shared/data
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from report import Figure, finish
from sisa import SALT, accuracy, folder, images_of

import lineage
from lineage.data.dataset import head
from lineage.schedule import Division, Risk, Selection
from lineage.schedule.risk import thresholds_of
from lineage.schedule.sliced import stage_epochs
from unlearn.plan.coalescing import AtOnce, LatestStart, Pending, Rule, Work
from unlearn.plan.cost import Topology
from unlearn.plan.forecast.serving import serve

REQUESTS, DAYS, DEADLINE, DRAWS = 100, 60, 30, 200
EPOCHS, SLICES, SIZES = 10, 4, (37, 1, 1, 1)
SEEDS = (0, 1, 2)
SKEWS = (0.0, 2.0, 3.0, 4.0)
STATED = 4.0
"""The standard deviation of the logarithm of a record's hazard that the targets are meant for."""

DAY = 86_400.0
Floats = NDArray[np.float64]


def hazards(skew: float, count: int) -> Floats:
    """How likely each record is to be asked for, as a probability; with no skew all are alike."""
    drawn = np.exp(skew * np.random.default_rng(1).standard_normal(count))
    return drawn / drawn.max()


def divided(records: Selection, risk: Floats | None) -> tuple[Topology, NDArray[np.int64]]:
    """A topology, by risk or of equal shards, and the cell of each record in it."""
    division = Division(len(SIZES), SLICES)
    if risk is not None:
        thresholds = thresholds_of(risk)
        bands = np.bincount(np.searchsorted(thresholds, risk, "right"))
        placed = Risk(column="risk", thresholds=thresholds, records=tuple(bands.tolist()))
        division = Division(len(SIZES), SLICES, SIZES, placed)
        records = Selection(
            records.positions, records.keys, records.placement, column=lambda _: risk
        )
    shards, slices = division.cells_of(records, SALT)
    cells = shards * SLICES + slices
    sizes = np.bincount(cells, minlength=len(SIZES) * SLICES).reshape(len(SIZES), SLICES)
    return Topology(sizes, stage_epochs(EPOCHS, SLICES)), cells


def visits(
    topology: Topology, cells: NDArray[np.int64], hazard: Floats, policy: Rule
) -> Iterator[float]:
    """Visits recomputed in each of some draws of the requests; cells stay as large as they are."""
    left = topology.left
    for draw in range(DRAWS):
        generator = np.random.default_rng([2, draw])
        moments = generator.uniform(0, DAYS, REQUESTS) * DAY
        asked = generator.choice(len(cells), REQUESTS, replace=False, p=hazard / hazard.sum())
        stream = []
        for number, (moment, cell) in enumerate(zip(moments, cells[asked], strict=True)):
            shard, piece = divmod(int(cell), SLICES)
            work = Work(float(left[shard, piece]), 60.0)
            stream.append(Pending(str(number), moment, moment + DEADLINE * DAY, {str(shard): work}))
        yield sum(start.visits for start in serve(stream, policy, len(SIZES)))


def compared(records: Selection, skew: float) -> dict[str, float]:
    """Mean visits of every way to serve the same requests, in full trainings."""
    hazard = hazards(skew, len(records))
    ways = {"equal": divided(records, None)}
    if skew:
        ways["risk"] = divided(records, hazard)
    whole = Topology(np.array([[len(records)]]), (EPOCHS,))
    one = np.zeros(len(records), np.int64)
    waiting = LatestStart(safety=2.0)
    found = {"skew": skew}
    for name, (topology, cells) in ways.items():
        for how, policy in (("one by one", AtOnce()), ("waiting", waiting)):
            found[f"{name}, {how}"] = mean(visits(topology, cells, hazard, policy)) / whole.visits
    found["full retraining, waiting"] = mean(visits(whole, one, hazard, waiting)) / whole.visits
    return found


def accuracies(store: lineage.Store, name: str, recipe: lineage.Recipe) -> list[float]:
    """The accuracy of a model for each of some seeds."""
    seeded = (replace(recipe, seed=seed) for seed in SEEDS)
    return [accuracy(store, f"{name}-{each.seed}", each) for each in seeded]


def register(store: lineage.Store, data: Path, name: str, part: str) -> None:
    """Take in MNIST with a column of risks."""
    images, labels = images_of(data, part)
    risk = hazards(STATED, len(labels))
    file = store.path / "mnist.parquet"
    pq.write_table(pa.table({"image": images, "label": labels, "risk": risk}), file)
    lineage.add_dataset(store, name, file, salt=SALT)
    file.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    options = parser.parse_args()
    data = folder()
    if data is None:
        return
    recipe = lineage.Recipe(
        shards=len(SIZES),
        shard_sizes=SIZES,
        slices=SLICES,
        risk="risk",
        epochs=EPOCHS,
        aggregation=lineage.Aggregation.WEIGHTED_MEAN,
    )
    with (
        tempfile.TemporaryDirectory() as place,
        lineage.Store.create(Path(place, "store")) as store,
    ):
        register(store, data, "mnist", "train")
        register(store, data, "test", "t10k")
        results = [compared(head(store, "mnist").present.records, skew) for skew in SKEWS]
        alone = accuracies(store, "one", lineage.Recipe(epochs=EPOCHS))
        placed = accuracies(store, "placed", recipe)
    uniform, *_, stated = results
    ours, one = stated["risk, waiting"], stated["equal, one by one"]
    full = stated["full retraining, waiting"]
    figures = [
        Figure("accuracy lost to S=1", 100 * (mean(alone) - mean(placed)), "points", 0.3),
        Figure("visits: ours of one by one", ours / one, "", 0.1),
        Figure("visits: ours of full retrainings that wait", ours / full, "", 1 / 3),
        Figure("of that, by waiting alone", stated["equal, waiting"] / one, ""),
        Figure("of that, by placement alone", stated["risk, one by one"] / one, ""),
        Figure(
            "the same where all hazards are alike: of one by one",
            uniform["equal, waiting"] / uniform["equal, one by one"],
            "",
        ),
        Figure(
            "the same where all hazards are alike: of full retrainings",
            uniform["equal, waiting"] / uniform["full retraining, waiting"],
            "",
        ),
    ]
    settings = {
        "requests": REQUESTS,
        "days": DAYS,
        "deadline_days": DEADLINE,
        "draws": DRAWS,
        "shard_sizes": SIZES,
        "slices": SLICES,
        "epochs": EPOCHS,
        "skew": STATED,
        "accuracies_of_one": alone,
        "accuracies_placed": placed,
    }
    finish("waiting", figures, results, options.json, **settings)


if __name__ == "__main__":
    main()
