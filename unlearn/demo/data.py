"""The demo's data: scikit-learn's handwritten digits, with contributors assigned by a seed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CONTRIBUTORS = 43
HELD_OUT = 297
SEED = 7


def write(folder: Path) -> tuple[Path, Path]:
    """Write 1,500 training and 297 test records as Parquet files.

    The 8 × 8 images are real (UCI Optical Recognition of Handwritten Digits). They name no writers,
    so contributors are drawn by a seed.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    draw = np.random.default_rng(SEED)
    order = draw.permutation(len(images))
    people = draw.integers(1, CONTRIBUTORS + 1, len(images))
    table = pa.table(
        {
            "record": [f"digit-{row:04d}" for row in range(len(images))],
            "contributor": people,
            "digit": labels.astype(np.int64),
            "pixels": pa.FixedSizeListArray.from_arrays(images.astype(np.uint8).ravel(), 64),
        }
    )
    train, test = folder / "digits.parquet", folder / "digits-test.parquet"
    pq.write_table(table.take(order[HELD_OUT:]), train)
    pq.write_table(table.take(order[:HELD_OUT]), test)
    return train, test
