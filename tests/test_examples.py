"""The walk-through is executed as it stands, in another folder; pages name verbs that there are.

A command is a line that starts with ``$`` in a ```console block; below it stands its answer with
some members left out. REQUEST and PLAN stand for the ``id`` of the newest answer of that kind.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from unlearn.cli import main

pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parents[1]
PARKINSONS = ROOT / "examples" / "parkinsons"
PAGES = [path for folder in ("docs", "examples") for path in (ROOT / folder).rglob("*.md")]
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MAKERS = {"request add": "REQUEST", "plan": "PLAN"}


def _commands(page: Path) -> Iterator[tuple[str, str]]:
    """Yield each command of a page and the text shown below it."""
    for block in CONSOLE.findall(page.read_text()):
        for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, answer = shown.partition("\n")
            yield command, answer


def _verb(command: str) -> str:
    return re.match(r"expunge ([a-z-]+(?: add)?)", command)[1]  # type: ignore[index]


def _walk(page: Path, data: Path, folder: Path) -> Iterator[tuple[str, str, Any]]:
    """Run the commands of a page in a folder: verb, what the page shows, what was answered."""
    settings = {name: value for name, value in os.environ.items() if name != "EXPUNGE_STORE"}
    settings |= {
        "EXPUNGE_DATA": str(data),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    ids: dict[str, str] = {}
    for command, shown in _commands(page):
        spelled = re.sub(r"\b(REQUEST|PLAN)\b", lambda word: ids[word[0]], command)
        ran = subprocess.run(
            ["bash", "-c", spelled], cwd=folder, env=settings, capture_output=True, text=True
        )
        assert ran.returncode == 0, f"{command}\n{ran.stderr}"
        assert "which is not tracked" not in ran.stderr
        answer = json.loads(ran.stdout)
        if _verb(command) in MAKERS:
            ids[MAKERS[_verb(command)]] = answer["id"]
        yield _verb(command), shown, answer


def _members(value: Any) -> set[str]:
    """The names of the members of a JSON value, however deep."""
    if isinstance(value, dict):
        return set(value).union(*map(_members, value.values()))
    return set().union(*map(_members, value)) if isinstance(value, list) else set()


@pytest.fixture(scope="module")
def walked(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, Any]]:
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(PARKINSONS / "voices.py", folder)
    return list(_walk(PARKINSONS / "README.md", data, folder))


@pytest.fixture(scope="module")
def answers(walked: list[tuple[str, str, Any]]) -> dict[str, Any]:
    """The first answer of each verb."""
    return {verb: answer for verb, _, answer in reversed(walked)}


def test_the_walk_through_registers_42_people(answers: dict[str, Any]) -> None:
    assert (answers["dataset add"]["records"], answers["dataset add"]["subjects"]) == (5875, 42)


def test_the_walk_through_finds_every_model_that_learned_from_a_person(
    answers: dict[str, Any],
) -> None:
    seen = answers["who-saw"]
    assert seen["complete"] is True
    assert [model["id"] for model in seen["models"]] == [answers["train"]["id"]]
    assert [node["kind"] for node in seen["path"]][0::3] == ["dataset-version", "model-version"]


def test_the_walk_through_plans_less_than_a_full_retrain(answers: dict[str, Any]) -> None:
    plan = answers["plan"]
    assert 0 < plan["visits"] < plan["full_retrain_visits"] == 10 * (5875 - 161)


def test_the_walk_through_ends_in_equal_bytes(answers: dict[str, Any]) -> None:
    verified = answers["verify"]
    assert (verified["claim"], verified["verdict"]) == ("replay-verified", "passed")
    assert verified["twin_digest"] == verified["model_digest"] == answers["apply"]["model_digest"]
    assert verified["model_digest"] != answers["train"]["digest"]


def test_the_walk_through_leaves_the_id_erased(
    walked: list[tuple[str, str, Any]], answers: dict[str, Any]
) -> None:
    verb, _, last = walked[-1]
    assert (verb, last["state"]) == ("who-saw", "erased")
    assert last["request"] == answers["request add"]["id"]


def test_the_walk_through_shows_no_member_that_is_not_answered(
    walked: list[tuple[str, str, Any]],
) -> None:
    shown = {verb: set(re.findall(r'"(\w+)": ', text)) for verb, text, _ in walked}
    answered = {verb: set() for verb in shown}
    for verb, _, answer in walked:
        answered[verb] |= _members(answer)
    assert {verb: names - answered[verb] for verb, names in shown.items()} == {
        verb: set() for verb in shown
    }


@pytest.mark.parametrize(
    "command",
    sorted({command for page in PAGES for command, _ in _commands(page) if "expunge" in command}),
)
def test_a_command_in_the_documentation_is_one_that_there_is(command: str) -> None:
    asked = CliRunner().invoke(main, [*shlex.split(command)[1:], "--help"])
    assert asked.exit_code == 0, asked.output
