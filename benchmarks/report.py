"""What a benchmark leaves behind, and one table of all of it.

python benchmarks/report.py FOLDER [--json all.json]
"""

import argparse
import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, None where it could not be; it meets its target by being no larger."""

    name: str
    value: float | None
    unit: str
    target: float | None = None

    @property
    def met(self) -> bool | None:
        if self.value is None or self.target is None:
            return None
        return self.value <= self.target


def finish(
    benchmark: str,
    figures: Sequence[Figure],
    results: object,
    path: Path | None,
    **settings: object,
) -> None:
    """Print a benchmark's document, and write it to a file where one is named."""
    cores, python = os.cpu_count(), platform.python_version()
    document = {
        "benchmark": benchmark,
        "machine": f"{platform.machine()}, {cores} cores, Python {python}",
        "settings": settings,
        "figures": [{**asdict(figure), "met": figure.met} for figure in figures],
        "results": results,
    }
    text = json.dumps(document, indent=2)
    print(text)
    if path is not None:
        path.write_text(text + "\n")


def lines(documents: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield "benchmark", "figure", "value", "target", "met"
    for document in documents:
        for figure in document["figures"]:
            value, unit, target = figure["value"], figure["unit"], figure["target"]
            yield (
                document["benchmark"],
                figure["name"],
                "–" if value is None else f"{value:.4g} {unit}",
                "–" if target is None else f"≤ {target:g} {unit}",
                {None: "", True: "yes", False: "NO"}[figure["met"]],
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, help="one file of all documents")
    options = parser.parse_args()
    documents = [json.loads(path.read_text()) for path in sorted(options.folder.glob("*.json"))]
    if options.json is not None:
        options.json.write_text(json.dumps(documents, indent=2) + "\n")
    table = list(lines(documents))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    for machine in dict.fromkeys(document["machine"] for document in documents):
        print(f"\n{machine}")


if __name__ == "__main__":
    main()
