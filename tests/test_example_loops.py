"""The loops of the examples: what lineage says they saw is what reached their models.

A witness runs a script: it knows a digit by its pixels, notes when a training network is shown it,
and counts the steps of torch's optimizers. It asks no code of ours. The command that trains again
is the witness's too.
"""

import difflib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from unlearn.cli import main
from unlearn.demo.data import write

LOOPS = Path(__file__).parents[1] / "examples" / "loops"
FRAMEWORKS = ["pytorch", "lightning", "transformers"]
CHECKPOINTS = {"pytorch": 1, "lightning": 3, "transformers": 1}
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MAKERS = {"request": "REQUEST", "plan": "PLAN"}
DIFF = re.compile(r"^```diff\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FORGOTTEN = 7

# What the frameworks warn of in themselves, in the versions that are installed here.
pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
]

WITNESS = """
import json, runpy, sys
from collections import defaultdict

import pyarrow.parquet as pq
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

digits = pq.read_table("digits.parquet").to_pylist()
names = {bytes(digit["pixels"]): digit["record"] for digit in digits}
shown, steps, forward = defaultdict(set), [], nn.Linear.forward


def witnessed(layer, given):
    if layer.training and layer.out_features == 64:
        with torch._C.DisableTorchFunctionSubclass():  # what a witness sees goes nowhere
            seen = (given * 16).round().byte().tolist()
        for pixels in seen:
            shown[names[bytes(pixels)]].add(len(steps))
    return forward(layer, given)


nn.Linear.forward = witnessed
register_optimizer_step_post_hook(lambda *_: steps.append(1))
for script in sys.argv[1:]:
    shown.clear()
    steps.clear()
    runpy.run_path(script, run_name="__main__")
    with open(script + ".json", "w") as file:
        json.dump({name: sorted(found) for name, found in shown.items()}, file)
"""

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts, the witness, the digits, and a store that knows them."""
    folder = tmp_path_factory.mktemp("loops")
    write(folder)
    for script in LOOPS.glob("*.py"):
        shutil.copy(script, folder)
    (folder / "witness.py").write_text(WITNESS)
    added = ["dataset", "add", "digits", str(folder / "digits.parquet")]
    columns = ["--id", "record", "--subject", "contributor"]
    store = ["--store", str(folder / ".expunge")]
    assert CliRunner().invoke(main, [*added, *columns, *store]).exit_code == 0
    return folder


@pytest.fixture
def folder(registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, to work in."""
    copied = tmp_path / "work"
    shutil.copytree(registered, copied)
    monkeypatch.chdir(copied)
    monkeypatch.delenv("EXPUNGE_STORE", raising=False)
    return copied


@pytest.fixture
def ask(folder: Path) -> Ask:
    """The command with ``--json``: the document that is all it prints."""

    def asked(*words: str, status: int = 0) -> Any:
        found = CliRunner().invoke(main, [*words, "--json"])
        assert found.exit_code == status, found.output
        assert "which is not tracked" not in found.stderr
        return json.loads(found.stdout)

    return asked


def _run(folder: Path, *scripts: str) -> None:
    ran = subprocess.run(
        [sys.executable, *scripts], cwd=folder, env=os.environ, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def _witnessed(script: str) -> dict[str, list[int]]:
    """What the witness saw: the steps in which each record was shown."""
    found: dict[str, list[int]] = json.loads(Path(f"{script}.json").read_text())
    return found


def _records_of(contributor: int) -> set[str]:
    digits = pq.read_table("digits.parquet").to_pylist()
    return {each["record"] for each in digits if each["contributor"] == contributor}


def _diff(framework: str) -> list[str]:
    names = [f"{framework}_{kind}.py" for kind in ("plain", "watched")]
    plain, watched = ((LOOPS / name).read_text().splitlines() for name in names)
    return [line.rstrip() for line in difflib.unified_diff(plain, watched, *names, lineterm="")]


def test_the_diffs_on_the_page_are_those_of_the_files() -> None:
    shown = DIFF.findall((LOOPS / "README.md").read_text())
    assert [each.splitlines() for each in shown] == [_diff(each) for each in FRAMEWORKS]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_watching_takes_a_few_lines(framework: str) -> None:
    changed = [line for line in _diff(framework)[2:] if re.match(r"\+.", line)]
    assert len(changed) <= 8


def _members(value: Any) -> set[str]:
    """The names of the members of a JSON value, however deep."""
    if isinstance(value, dict):
        return set(value).union(*map(_members, value.values()))
    return set().union(*map(_members, value)) if isinstance(value, list) else set()


def test_the_commands_on_the_page_answer_as_it_shows(folder: Path, ask: Ask) -> None:
    shutil.rmtree(folder / ".expunge")
    ids: dict[str, str] = {}
    page = "".join(CONSOLE.findall((LOOPS / "README.md").read_text()))
    for command, _, shown in (each.partition("\n") for each in page.split("$ ")[1:]):
        program, *words = shlex.split(command)
        if program == "python":
            _run(folder, *words)
            continue
        answer = ask(*(ids.get(word, word) for word in words if word != "--json"))
        if words[0] in MAKERS:
            ids[MAKERS[words[0]]] = answer["id"]
        assert set(re.findall(r'"(\w+)": ', shown)) - {*_members(answer)} == set()
        for name in ("claim", "verdict", "claim_possible", "erased_records", "records"):
            if said := re.search(rf'"{name}": "?([\w-]+)', shown):
                assert str(answer[name]) == said[1]
    assert words[0] == "verify"
    assert answer["model_digest"] == answer["twin_digest"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_watched_script_is_answered_for_and_can_be_trained_again(
    framework: str, folder: Path, ask: Ask
) -> None:
    plain, watched = f"{framework}_plain.py", f"{framework}_watched.py"
    _run(folder, "witness.py", plain, watched)
    truth = _witnessed(watched)
    assert len(truth) == 1500
    assert truth == _witnessed(plain)
    (run,) = ask("run", "list")
    gone, kept = _records_of(FORGOTTEN), _records_of(8)
    for record in sorted(gone | kept)[::9]:
        answer = ask("who-saw", "--record", record)
        assert answer["steps"] == {run["id"]: truth[record]}
        assert len(answer["checkpoints"]) == CHECKPOINTS[framework]
        assert [model["model"] for model in answer["models"]] == ["reader"]
        assert (answer["complete"], answer["bounds"]) == (True, {})
    together = ask("who-saw", "--subject", str(FORGOTTEN))["steps"][run["id"]]
    assert set(together) == set().union(*(truth[record] for record in gone))

    request = ask("request", "add", "--subject", str(FORGOTTEN))["id"]
    plan = ask("plan", request)
    assert "external" in {task["kind"] for task in plan["tasks"]}
    applied = ask("apply", plan["id"], "--on", "debug")
    assert (applied["claim"], applied["verdict"]) == ("exact-by-provenance", "passed")
    assert applied["erased_records"] == len(gone)

    truth = _witnessed(watched)
    assert len(truth) == 1500 - len(gone)
    assert not gone & truth.keys()
    assert ask("who-saw", "--subject", str(FORGOTTEN))["state"] == "erased"
    (again,) = {each["id"] for each in ask("run", "list")} - {run["id"]}
    for record in sorted(kept)[::9]:
        answer = ask("who-saw", "--record", record)
        assert answer["steps"][again] == truth[record]
        live = {model["id"] for model in answer["models"] if model["live"]}
        assert live == {version["id"] for version in applied["versions"]}
    assert ask("verify", plan["id"], "--twin", status=6)["verdict"] == "inconclusive"


@pytest.mark.parametrize("framework", ["lightning", "transformers"])  # the page has the third
def test_a_driven_script_is_retrained_to_the_bytes_of_its_twin(
    framework: str, folder: Path, ask: Ask, twin_here: None
) -> None:
    drive = ["train", f"{framework}_driven:train", "--dataset", "digits", "--epochs", "2"]
    made = {ask(*drive, "--model", "reader")["id"]}
    request = ask("request", "add", "--subject", str(FORGOTTEN))["id"]
    plan = ask("plan", request)
    assert {task["kind"] for task in plan["tasks"]} >= {"replay", "publish", "purge"}
    applied = ask("apply", plan["id"], "--on", "debug")
    assert {version["replaces"] for version in applied["versions"]} == made
    verified = ask("verify", plan["id"], "--twin")
    assert (verified["claim"], verified["verdict"]) == ("replay-verified", "passed")
    assert verified["model_digest"] == verified["twin_digest"] == applied["model_digest"]
