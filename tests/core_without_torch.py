"""Import every module of the core with the frameworks absent: `python tests/core_without_torch.py`.

Queries, planning, audit and the offline verifier run where torch is not installed. The test suite
runs this where it is, and `make core` in an environment that never had it.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder

FRAMEWORKS = frozenset({"lightning", "pandas", "prov", "ray", "sklearn", "torch", "transformers"})
OUTSIDE_THE_CORE = (
    "lineage.integrations.",  # a thin shell each, imported by the user of its framework
    "storage.catalogue.migrations",  # imported by Alembic alone
    "unlearn.demo.digits",  # a training program, imported by the runs of the demo
)


class Absent(MetaPathFinder):
    """Answer for the frameworks as an environment without them does."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> None:
        if fullname.partition(".")[0] in FRAMEWORKS:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def core_modules(package: str) -> Iterator[str]:
    """Import the package and everything below it, yielding names as they come."""
    yield package
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        if found.name.startswith(OUTSIDE_THE_CORE):
            continue
        if found.ispkg:
            yield from core_modules(found.name)
        else:
            importlib.import_module(found.name)
            yield found.name


if __name__ == "__main__":
    sys.meta_path.insert(0, Absent())
    names = [
        name for package in ("storage", "lineage", "unlearn") for name in core_modules(package)
    ]
    print(f"{len(names)} modules imported without {', '.join(sorted(FRAMEWORKS))}")
