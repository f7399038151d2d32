"""Models that a run of this process trained before: what they learned goes into the next run.

The tensors of what a run tracks or steps are known again by the objects that they are, and their
contents by their bytes. So one that was set back to how it began has learned nothing, and a new
object is nobody's, unless it is a copy of what an earlier run published.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

import torch
from sqlalchemy import select
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lineage.errors import StateError
from lineage.integrations.torch.moved_state import state_tensors
from lineage.integrations.torch.plain_state import plain_state
from lineage.integrations.torch.tracked_tensor import lose_track
from lineage.store import Store
from lineage.training.contract import Stateful
from lineage.training.given import members_of
from lineage.training.models_read import note_read
from lineage.training.observed import Observed
from lineage.training.state import digest
from storage.catalogue import tables

_Published = tuple[Path, str] | None
"""The model version that a state was published as, and its store; None: nothing was learned."""


class _Known(NamedTuple):
    """A tensor that a run tracked, and the states of it whose origin is known, by their digest."""

    tensor: Callable[[], Tensor | None]
    states: Mapping[str, _Published]


_KNOWN: dict[int, _Known] = {}

_COPIED: dict[str, _Published] = {}
"""What runs of this process published and had moved, by the digests of contents that tell it."""

_NUMBERS = count()

_AGAIN = (
    "the model or optimizer was trained by an earlier run of this process that failed, or was "
    "changed since: what it learned is not known, so the lineage is incomplete; give a fresh "
    "model and optimizer, or resume that run"
)


@contextmanager
def remembered(store: Store, things: Iterable[Stateful]) -> Iterator[Callable[[Observed], None]]:
    """Remember what a run made of its objects; the block gets what says how they are as it begins.

    Where they are what an earlier run published, the run descends from that version. Where that run
    failed, or they were changed since, the run is incomplete.
    """
    begun: dict[int, dict[str, _Published]] = {}
    runs: list[str] = []
    hooks: list[RemovableHandle] = []

    def begin(run: Observed) -> None:
        runs.append(run.id)
        known = dict(_KNOWN)
        begun.update(_begun(store, run, known, _tensors(things)))
        # A block inside this one finds what is known; what is learned until then nobody knows yet.
        _remember(things, begun)
        if not run.step:
            look = partial(_begun, store, run, known)
            hooks.extend(_before_the_first_step(things, lambda each: begun.update(look(each))))

    try:
        yield begin
    except BaseException:
        if runs:
            _keep(things, begun, None)
        raise
    finally:
        for hook in hooks:
            hook.remove()
    _keep(things, begun, _version(store, runs[0]))


def _before_the_first_step(
    things: Iterable[Stateful], look: Callable[[Iterable[Tensor]], None]
) -> list[RemovableHandle]:
    """Look at the weights that the loop has written into by then: it may have loaded them."""
    weights = [each for each in _tensors(things) if isinstance(each, nn.Parameter)]
    versions = [_version_of(each) for each in weights]

    def stepping(*_: object) -> None:
        pairs = [*zip(weights, versions, strict=True)]
        weights.clear()  # once
        versions.clear()
        look([each for each, version in pairs if _version_of(each) != version])

    optimizers = (each for each in things if isinstance(each, Optimizer))
    return [each.register_step_pre_hook(stepping) for each in optimizers]


def _version_of(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _begun(
    store: Store, run: Observed, known_before: Mapping[int, _Known], tensors: Iterable[Tensor]
) -> Iterator[tuple[int, dict[str, _Published]]]:
    """Return what is known of each tensor's states, with the one that it has now."""
    for each in tensors:
        known, now = known_before.get(id(each)), _digest(each)
        if known is None or known.tensor() is not each:
            if not run.step:
                _descend(store, run, _COPIED.get(now))
            yield id(each), {now: _COPIED.get(now)} if not run.step else {}
        elif now in known.states or now in _COPIED:
            _descend(store, run, known.states.get(now, _COPIED.get(now)))
            yield id(each), {now: _COPIED.get(now), **known.states}
        elif not run.step:  # a run that is resumed gets the state of its own checkpoint
            lose_track(run.sink, _AGAIN)


def _descend(store: Store, run: Observed, published: _Published) -> None:
    """Let a run descend from the version that a state was published as."""
    if published is None:
        return
    path, version = published
    if path != store.path:
        lose_track(run.sink, _AGAIN)
        return
    with store.catalogue.read() as session:
        members = members_of(session, version)
    note_read(store, version, members)


def _keep(
    things: Iterable[Stateful],
    begun: Mapping[int, Mapping[str, _Published]],
    published: _Published,
) -> None:
    """Remember how a run left its objects."""
    ended: dict[int, dict[str, _Published]] = {}
    for each in _tensors(things):
        before, now = begun.get(id(each), {}), _digest(each)
        ended[id(each)] = {**({} if published is None else {now: published}), **before}
        if published is not None and now not in before and _is_telling(each):
            _COPIED[now] = published
    _remember(things, ended)


def _remember(things: Iterable[Stateful], states: Mapping[int, Mapping[str, _Published]]) -> None:
    for each in _tensors(things):
        number = id(each)
        _KNOWN[number] = _Known(weakref.ref(each), states.get(number, {}))
        weakref.finalize(each, _forget, number, _KNOWN[number])


def _tensors(things: Iterable[Stateful]) -> Iterator[Tensor]:
    """Return the tensors of what is tracked, and those that its optimizers step; each once."""
    stepped = (
        each
        for thing in things
        if isinstance(thing, Optimizer)
        for group in thing.param_groups
        for each in group["params"]
    )
    yield from {id(each): each for each in chain(state_tensors(things), stepped)}.values()


def _is_telling(tensor: Tensor) -> bool:
    """Return True if nobody comes to the same contents by chance, as to zeros or to a count."""
    plain = not is_lazy(tensor) and tensor.layout is torch.strided and not tensor.is_meta
    if not plain or not tensor.is_floating_point() or tensor.numel() < 2:
        return False
    return bool((tensor.detach() != tensor.detach().flatten()[0]).any())


def _forget(number: int, known: _Known) -> None:
    if _KNOWN.get(number) is known:
        del _KNOWN[number]


def _version(store: Store, run_id: str) -> _Published:
    """Return the version that a run was published as; None where a plan asked for it."""
    member, made = tables.ModelMember, tables.Checkpoint
    of_run = select(made.id).where(made.run_id == run_id)
    with store.catalogue.read() as session:
        found = session.scalar(
            select(member.version_id).where(member.checkpoint_id.in_(of_run)).limit(1)
        )
    return None if found is None else (store.path, found)


def _digest(tensor: Tensor) -> str:
    """Return what tells contents apart; what has none, or none that is known, equals nothing."""
    try:
        return f"no contents {next(_NUMBERS)}" if is_lazy(tensor) else digest(_state(tensor))
    except StateError:
        return f"unknown contents {next(_NUMBERS)}"


def _state(tensor: Tensor) -> dict[str, object]:
    return {"tensor": plain_state(tensor)}
