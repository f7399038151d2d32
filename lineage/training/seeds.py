"""Randomness by step: each step draws from (run seed, step) alone, whatever came before it."""

import random
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
from numpy.typing import NDArray

from lineage.schedule.mixer import mixed

_GAMMA = 0x9E3779B97F4A7C15
_BLOCK = 1024
DRAWING = 0xD6E8FEB86659FD93
LOADING = 0xA0761D6478BD642F
RANKS = 0xE7037ED1A0B428DB


def seeds_for(run_seed: int, first_step: int, count: int) -> list[int]:
    """The seeds of steps ``first_step`` to ``first_step + count - 1``: the derivation ``seed/1``.

    The seed of a step is the upper 63 bits of output number ``step`` (counted from 0) of SplitMix64
    (Steele, Lea and Flood, OOPSLA 2014) whose state starts at ``run_seed``, in ``[0, 2**64)``. Any
    step is reached at once, and consecutive run seeds give unrelated sequences.

    >>> [hex(seed) for seed in seeds_for(0, 0, 3)]
    ['0x7110541cbd8ee6d7', '0x373c4f3550dcb2fa', '0x3622e8c4004a2a7']
    >>> seeds_for(1234567, 3, 1)
    [2296690264062541215]
    """
    outputs = np.arange(first_step + 1, first_step + 1 + count, dtype=np.uint64)
    states: NDArray[np.uint64] = outputs * np.uint64(_GAMMA) + np.uint64(run_seed)
    seeds: list[int] = (mixed(states, 0) >> 1).tolist()
    return seeds


def seeder(
    run_seed: int, *, uses_torch: bool, numpy: bool = False, python: bool = False
) -> Callable[[int], None]:
    """A function that seeds every generator in use from (``run_seed``, step).

    torch: the default generators of the CPU, of each CUDA device in use (a device first used inside
    a step joins at the next one) and of MPS. ``numpy`` and ``python``: the global generators of
    ``numpy.random`` (by the low 32 bits, all that it takes) and ``random``.
    """
    sinks: list[Callable[[int], object]] = _torch_sinks() if uses_torch else []
    if numpy:
        sinks.append(lambda seed: np.random.seed(seed & 0xFFFFFFFF))
    if python:
        sinks.append(random.seed)
    first, block = 0, seeds_for(run_seed, 0, _BLOCK)

    def seed_step(step: int) -> None:
        nonlocal first, block
        if not 0 <= step - first < _BLOCK:
            first, block = step, seeds_for(run_seed, step, _BLOCK)
        seed = block[step - first]
        for sink in sinks:
            sink(seed)

    return seed_step


class LoadingSeeds:
    """Seeds the generators that loading a batch of torch may use, from (``run_seed``, step).

    It can be sent to another process, and is made whole there when it is first called.
    """

    def __init__(self, run_seed: int, generators: Collection[str]) -> None:
        self._run_seed = run_seed
        self._generators = frozenset(generators)
        self._seed: Callable[[int], None] | None = None

    def __call__(self, step: int) -> None:
        """Seed them for a step."""
        if self._seed is None:
            self._seed = seeder(
                self._run_seed ^ LOADING,
                uses_torch=True,
                numpy="numpy" in self._generators,
                python="random" in self._generators,
            )
        self._seed(step)


@contextmanager
def generators_kept(*, uses_torch: bool) -> Iterator[None]:
    """On leaving, every global generator has the state again that it had."""
    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state(legacy=False))
        if uses_torch:
            import torch

            initialised = range(len(torch.cuda.default_generators))
            stack.enter_context(torch.random.fork_rng(devices=initialised, device_type="cuda"))
        yield


@contextmanager
def drawing(run_seed: int, epoch: int, *, uses_torch: bool) -> Iterator[None]:
    """Seed every global generator from (``run_seed``, epoch) to draw an order, and undo it."""
    with generators_kept(uses_torch=uses_torch):
        seeder(run_seed ^ DRAWING, uses_torch=uses_torch, numpy=True, python=True)(epoch)
        yield


def _torch_sinks() -> list[Callable[[int], object]]:
    """Generators are seeded one by one: 1.3 µs, where ``torch.manual_seed`` takes 145 µs."""
    import torch

    def cuda(seed: int) -> None:
        for generator in torch.cuda.default_generators:
            generator.manual_seed(seed)

    sinks: list[Callable[[int], object]] = [torch.default_generator.manual_seed, cuda]
    if torch.backends.mps.is_available():
        sinks.append(torch.mps.manual_seed)
    return sinks
