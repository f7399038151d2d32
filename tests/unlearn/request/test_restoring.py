"""Withdrawing a request: derived rows come back, or the datasets to derive again are named."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

import unlearn
from lineage.data.dataset import head
from lineage.data.transform import derive
from lineage.source import load
from lineage.store import Store
from tests.unlearn.test_forgetting_in_groups import made
from unlearn.cli import main

__all__ = ["made"]

HERE = Path(__file__).parent
CHAINS = [
    ("same", "same"),
    ("same", "counted"),
    ("counted", "same"),
    ("same", "largest", "same"),
    ("centred", "counted"),
    ("counted", "counted", "same"),
]


def derive_all(store: Store, chain: tuple[str, ...]) -> None:
    source = "people"
    for number, name in enumerate(chain):
        derive(store, load(f"chains.py:{name}", HERE), source, f"made-{number}")
        source = f"made-{number}"


def rows_of(store: Store, name: str) -> list[float]:
    version = head(store, name)
    return sorted(version.column("x")[version.present.positions].tolist())


@pytest.mark.parametrize("meanwhile", ["nothing", "derived", "planned"])
@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
def test_every_dataset_has_its_rows_again_or_is_named(
    made: Store, chain: tuple[str, ...], meanwhile: str
) -> None:
    derive_all(made, chain)
    names = ["people", *(f"made-{number}" for number in range(len(chain)))]
    before = {name: rows_of(made, name) for name in names}
    request = unlearn.accept(made, "subject", "person-07").request_id
    if meanwhile == "derived":
        derive_all(made, chain)
    if meanwhile == "planned":
        other = unlearn.accept(made, "subject", "person-03").request_ids
        unlearn.apply(made, unlearn.make_plan(made, other)[0])
    named = unlearn.cancel(made, request).derive
    assert list(named) == sorted(named)
    after = {name: rows_of(made, name) for name in names}
    for name in named:
        number = int(name.removeprefix("made-"))
        source = f"made-{number - 1}" if number else "people"
        derive(made, load(f"chains.py:{chain[number]}", HERE), source, name)
    derived = {name: rows_of(made, name) for name in names}
    derive_all(made, chain)
    should = {name: rows_of(made, name) for name in names}
    assert derived == should
    assert {name: after[name] for name in names if name not in named} == {
        name: should[name] for name in names if name not in named
    }
    if meanwhile != "planned":
        assert should == before


def test_the_commands_that_derive_again_are_told_in_order(
    made: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    derive_all(made, ("counted", "same"))
    before = [rows_of(made, name) for name in ("people", "made-0", "made-1")]
    request = unlearn.accept(made, "subject", "person-07").request_id
    words = ["--store", str(made.path)]
    monkeypatch.chdir(tmp_path)
    cancelled = CliRunner().invoke(main, [*words, "cancel", request])
    told = [line.removeprefix("next: ") for line in cancelled.stderr.splitlines()]
    assert [shlex.split(line)[3] for line in told] == ["made-0", "made-1"]
    for line in told:
        assert CliRunner().invoke(main, shlex.split(line)[1:]).exit_code == 0
    assert [rows_of(made, name) for name in ("people", "made-0", "made-1")] == before
