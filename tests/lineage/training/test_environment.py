import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import threadpoolctl
import torch
from hypothesis import given
from hypothesis import strategies as st

from lineage.training.environment import Difference, Environment, deterministic, fingerprint
from lineage.training.seeds import seeder, seeds_for

MASK = 2**64 - 1
uint64 = st.integers(0, MASK)


def split_mix(state: int) -> Iterator[int]:
    """The oracle: SplitMix64 as published, one output at a time."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def test_seeds_are_the_published_outputs_of_split_mix_64() -> None:
    published = [
        *(6457827717110365317, 3203168211198807973, 9817491932198370423),
        *(4593380528125082431, 16408922859458223821),
    ]
    assert seeds_for(1234567, 0, 5) == [output >> 1 for output in published]


@given(uint64, st.integers(0, 50), st.integers(0, 20))
def test_any_block_of_seeds_is_a_part_of_the_sequence(seed: int, first: int, count: int) -> None:
    outputs = split_mix(seed)
    sequence = [next(outputs) >> 1 for _ in range(first + count)]
    assert seeds_for(seed, first, count) == sequence[first:]


@given(uint64, st.integers(0, 2**40))
def test_a_far_step_is_reached_at_once(seed: int, step: int) -> None:
    jumped = split_mix((seed + step * 0x9E3779B97F4A7C15) & MASK)
    assert seeds_for(seed, step, 1) == [next(jumped) >> 1]


def test_seeds_of_runs_and_steps_do_not_repeat() -> None:
    seeds = [seed for run in range(50) for seed in seeds_for(run, 0, 1000)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


DRAWS: dict[str, Callable[[], object]] = {
    "torch": lambda: torch.rand(3).tolist(),
    "numpy": lambda: np.random.rand(3).tolist(),
    "python": random.random,
}


@pytest.mark.parametrize("used", DRAWS)
def test_a_step_draws_the_same_whatever_came_before(used: str) -> None:
    uses = {name: name == used for name in DRAWS}
    draw = DRAWS[used]
    with deterministic(uses_torch=True):
        seed = seeder(7, uses_torch=uses.pop("torch"), **uses)
        drawn = {}
        for step in (0, 1, 1023, 1024, 5000):
            seed(step)
            drawn[step] = draw()
        for step in (5000, 0, 1024, 1, 1023):
            seed(step)
            assert draw() == drawn[step]
    assert len(set(map(str, drawn.values()))) == 5


def test_only_the_generators_that_were_asked_for_are_seeded() -> None:
    with deterministic(uses_torch=True):
        for used in DRAWS:
            others = {name: draw for name, draw in DRAWS.items() if name != used}
            seed = seeder(
                7, uses_torch=used == "torch", numpy=used == "numpy", python=used == "python"
            )
            for draw in others.values():
                seed(0)
                first = draw()
                seed(0)
                assert draw() != first


def test_torch_is_seeded_as_by_its_own_generator() -> None:
    with deterministic(uses_torch=True):
        seeder(3, uses_torch=True)(11)
        drawn = torch.rand(5)
    generator = torch.Generator().manual_seed(seeds_for(3, 11, 1)[0])
    assert torch.equal(drawn, torch.rand(5, generator=generator))


def test_seeding_a_step_costs_microseconds_not_the_145_of_manual_seed() -> None:
    with deterministic(uses_torch=True):
        seed = seeder(0, uses_torch=True)
        best = min(_seconds(seed, range(start, start + 2000)) for start in range(0, 20_000, 2000))
    assert best / 2000 < 15e-6


def _seconds(seed: Callable[[int], None], steps: range) -> float:
    began = perf_counter()
    for step in steps:
        seed(step)
    return perf_counter() - began


@contextmanager
def unusual(flag: bool, threads: int) -> Iterator[None]:
    """The process as a caller may have set it up."""
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_num_threads(),
    )
    torch.use_deterministic_algorithms(flag, warn_only=flag)
    torch.backends.cudnn.benchmark = flag
    torch.set_num_threads(threads)
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.benchmark = before[1]
    torch.set_num_threads(before[2])


def without_a_deterministic_form() -> None:
    torch.zeros(2).put_(torch.tensor([0, 0]), torch.ones(2), accumulate=False)


def situation() -> dict[str, object]:
    return {
        "environment": fingerprint(uses_torch=True),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state()),
        "python": random.getstate(),
        "pools": [pool["num_threads"] for pool in threadpoolctl.threadpool_info()],
    }


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_process_is_left_as_it_was_found(flag: bool, threads: int) -> None:
    with unusual(flag, threads):
        before = situation()
        with deterministic(uses_torch=True):
            seeder(1, uses_torch=True, numpy=True, python=True)(0)
            inside = situation()
        assert situation() == before
    assert all(inside[name] != before[name] for name in ("environment", "torch", "python"))


def test_the_process_is_left_as_it_was_found_when_the_program_fails() -> None:
    before = situation()
    with pytest.raises(RuntimeError, match="deterministic"), deterministic(uses_torch=True):
        without_a_deterministic_form()
    assert situation() == before


def test_the_process_is_pinned_inside() -> None:
    with deterministic(uses_torch=True, threads=2):
        inside = fingerprint(uses_torch=True)
        assert inside.deterministic
        assert inside.threads == 2
        with deterministic(uses_torch=True):
            assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {1}
            assert fingerprint(uses_torch=True).threads == 1
        assert fingerprint(uses_torch=True) == inside


def test_an_operation_without_a_deterministic_form_raises_inside() -> None:
    without_a_deterministic_form()
    with deterministic(uses_torch=True), pytest.raises(RuntimeError, match="deterministic"):
        without_a_deterministic_form()


def test_the_same_situation_has_the_same_digest_and_no_difference() -> None:
    first, second = fingerprint(uses_torch=True), fingerprint(uses_torch=True)
    assert first.digest == second.digest
    assert first.difference(second) == ()
    assert Environment.model_validate_json(first.model_dump_json()) == first


def test_each_thing_that_changes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = fingerprint(uses_torch=True)
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setenv("HOME", "/nowhere")
    torch.set_default_dtype(torch.float64)
    torch.set_flush_denormal(True)
    try:
        changed = fingerprint(uses_torch=True)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_flush_denormal(False)
    assert plain.difference(changed) == (
        Difference("flags.flush_denormal", "False", "True"),
        Difference("flags.get_default_dtype", "torch.float32", "torch.float64"),
        Difference("variables.MKL_CBWR", "(none)", "COMPATIBLE"),
    )
    assert plain.digest != changed.digest


@pytest.mark.parametrize("field", Environment.model_fields)
def test_every_field_enters_the_digest_and_the_difference(field: str) -> None:
    environment = fingerprint(uses_torch=True)
    changes: dict[type, Any] = {
        str: "another",
        int: 99,
        bool: not environment.deterministic,
        dict: {"another": "value"},
        tuple: ("another",),
    }
    value = changes[type(getattr(environment, field))]
    other = environment.model_copy(update={field: value})
    assert other.digest != environment.digest
    named = {difference.field.split(".")[0] for difference in environment.difference(other)}
    assert named == {field}


def test_the_digest_is_that_of_the_canonical_json() -> None:
    environment = fingerprint(uses_torch=True)
    canonical = json.dumps(
        environment.model_dump(mode="json"),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    assert environment.digest == sha256(canonical.encode()).hexdigest()


SCRIPT = """
import sys
from lineage.training.environment import deterministic, fingerprint
from lineage.training.seeds import seeder
with deterministic(uses_torch=False):
    seeder(0, uses_torch=False, numpy=True, python=True)(0)
    environment = fingerprint(uses_torch=False)
assert "torch" not in sys.modules, "the environment imported torch"
assert "torch" not in environment.versions
print(environment.threads, environment.digest)
"""


def test_a_program_without_torch_never_imports_it_and_digests_agree_between_processes() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for _ in range(2)
    }
    assert len(printed) == 1
    assert printed.pop().startswith("1 ")
