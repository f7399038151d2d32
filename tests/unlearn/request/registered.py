"""Some people with their records, and what requests left of them."""

from typing import Any

from lineage.data.dataset import head
from unlearn.request.accepted import Accepted, Receipt
from unlearn.request.reading import forget_sets

PAIRS = [("a1", "Annabella"), ("b1", "Bartholomew"), ("a2", "Annabella"), ("c1", "Cornelius")]


def present(store: Any, name: str = "people") -> list[int]:
    return head(store, name).present.positions.tolist()


def ids_of(request: Accepted | Receipt) -> tuple[str, ...]:
    return (request.request_id,) if isinstance(request, Accepted) else request.request_ids


def positions(store: Any, *requests: Any) -> dict[str, set[int]]:
    with store.catalogue.read() as session:
        found = forget_sets(session, [each for request in requests for each in ids_of(request)])
        return {dataset: set(rows) for dataset, rows in found.items()}
