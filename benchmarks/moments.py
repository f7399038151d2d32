"""Time exact statistics, in CPU seconds: of a million rows, and of a thousand subtracted from them.

python benchmarks/moments.py [--json out.json]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from report import Figure, finish

from lineage import Moments, TokenCounts

ROWS = 1_000_000
GONE = 1_000
TARGET = 1.0
OF_X = Moments.of("x")


def columns() -> dict[str, Any]:
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2**64, ROWS, dtype=np.uint64).view(np.float64)
    return {
        "float64": draw.normal(size=ROWS),
        "float32": draw.normal(size=ROWS).astype(np.float32),
        "int64": draw.integers(-(10**9), 10**9, ROWS),
        "float64 of every exponent": np.where(np.isfinite(bits), bits, 0.0),
    }


def texts() -> Any:
    """Twenty tokens of 20,000 different ones a text, a million in all."""
    words = np.random.default_rng(0).integers(0, 20_000, (ROWS // 20, 20))
    return np.array([" ".join(map(str, text)) for text in words.tolist()], object)


def cpu_seconds(timed: Callable[[], object], repeats: int) -> float:
    timed()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        timed()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def measure(repeats: int) -> dict[str, float]:
    given, notes = columns(), texts()
    results = {
        f"moments of {name}": cpu_seconds(lambda x=x: OF_X({"x": x}), repeats)
        for name, x in given.items()
    }
    x = given["float64"]
    whole = OF_X({"x": x})
    return {
        **results,
        "NumPy's mean and deviation, rounded": cpu_seconds(lambda: (x.mean(), x.std()), repeats),
        f"{GONE:,} rows subtracted": cpu_seconds(lambda: whole - whole({"x": x[:GONE]}), repeats),
        "counts of tokens": cpu_seconds(lambda: TokenCounts.of("x")({"x": notes}), repeats),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    results = measure(options.repeats)
    figures = [
        Figure(name, 1e3 * seconds, "ms", 1e3 * TARGET if name == "moments of float64" else None)
        for name, seconds in results.items()
    ]
    finish("moments", figures, results, options.json, repeats=options.repeats, numpy=np.__version__)


if __name__ == "__main__":
    main()
