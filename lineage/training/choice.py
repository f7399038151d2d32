"""Choices between versions of models: which was preferred, to which others, by looking at what.

Validation, early stopping and a search for hyper-parameters outside of any run move no weight, so
nothing is tainted by them. But whoever was looked at may have steered them, and is told of.
"""

from collections.abc import Mapping, Sequence

from lineage.data.dataset import head
from lineage.data.version import open_version
from lineage.store import Store
from lineage.training.model import find_version
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import InvalidInputError


def choose(
    store: Store, version: str, over: Sequence[str] = (), by: Mapping[str, str | None] | None = None
) -> tables.Choice:
    """Write down that a version was preferred to others, by measures on datasets.

    Versions are given by id, or by model name, which means the newest; datasets by the id of a
    version, or by name, which means the newest. ``by`` maps them to the measure that decided, or to
    None, where they were looked at in another way.

    Raises:
        NotFoundError: there is no such version or dataset; near names are offered.
        InvalidInputError: nothing was chosen by, or the version is among those it was preferred to.
    """
    found = find_version(store, version)
    rivals = tuple(dict.fromkeys(find_version(store, each).id for each in over))
    grounds = {_data_version(store, name): metric for name, metric in (by or {}).items()}
    if found.id in rivals:
        raise InvalidInputError(
            f"model version {found.id} cannot be chosen over itself",
            hint="give versions by their ids: a name means the newest one of the model",
        )
    if not rivals and not grounds:
        raise InvalidInputError(
            f"nothing is said of what {found.id} was chosen by",
            hint="name the versions that lost, or the datasets that were looked at",
        )
    choice = tables.Choice(id=new_id("choice"), version_id=found.id, created_at=store.clock())
    choice.rivals = [tables.ChoiceRival(version_id=each) for each in rivals]
    choice.grounds = [
        tables.ChoiceGround(version_id=each, metric=metric) for each, metric in grounds.items()
    ]
    content = {"version": found.id, "over": list(rivals), "by": grounds}
    with store.catalogue.write() as session:
        session.add(choice)
        session.flush()
        ledger.commit(session, "choice", choice.id, content, store.clock())
    return choice


def _data_version(store: Store, name: str) -> str:
    return open_version(store, name).id if name.startswith("dsv-") else head(store, name).id
