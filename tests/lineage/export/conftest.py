"""The judges of exports, and the random histories that exports are made of."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lineage.training.ensemble import Recipe

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def judges(loaded: Callable[[Path], ModuleType]) -> ModuleType:
    """The module ``judges.py`` beside this one."""
    return loaded(HERE / "judges.py")


@pytest.fixture(scope="session", params=["client", "published"])
def openlineage(request: pytest.FixtureRequest, judges: ModuleType) -> Any:
    """Each judge of events: the official client, and the published schema."""
    if request.param == "client":
        return judges.ClientOfEvents()
    return judges.PublishedForEvents()


@pytest.fixture(scope="session", params=["reference", "published"])
def prov(request: pytest.FixtureRequest, judges: ModuleType) -> Any:
    """Each judge of documents: the reference implementation, and the published schema."""
    if request.param == "reference":
        return judges.ReaderOfDocuments()
    return judges.PublishedForDocuments()


SHARED = HERE.parents[1] / "unlearn"


@pytest.fixture(scope="session")
def histories(loaded: Callable[[Path], ModuleType]) -> ModuleType:
    """Small random histories, and living through them."""
    return loaded(SHARED / "histories.py")


@pytest.fixture(scope="session")
def oracle(loaded: Callable[[Path], ModuleType]) -> ModuleType:
    """What happened in them, from their programs' diary alone."""
    return loaded(SHARED / "oracle.py")


@pytest.fixture(scope="session")
def everything(histories: ModuleType) -> Any:
    """A history with every kind of edge: derived, grown, measured with, fine-tuned, taught."""
    people = [("p1",), ("p2",), ("p3", "p1"), ()]
    recipe = Recipe(shards=2, epochs=3, batch_size=4, checkpoint_every=4)
    return histories.History(
        {"a": tuple((n, str(n), people[n % 4]) for n in range(30))},
        (
            histories.Training("a", recipe, fit=("a",), evaluate=("c",)),
            histories.Training("c", Recipe(epochs=2, batch_size=8), model="n", start=2),
            histories.Training(
                "a",
                Recipe(epochs=1, batch_size=8),
                model="n",
                given=(0,),
                new=((100, "100", ("p2",)),),
            ),
            histories.Training("c", Recipe(epochs=1, batch_size=8), model="o", teacher=0),
        ),
        derived=(("halved", "a", "c"),),
    )
