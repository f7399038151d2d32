import importlib
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import lineage
import storage
import unlearn
from storage.errors import ExpungeError
from unlearn.cli import main
from unlearn.cli.exits import BY_CODE

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "command-line.md"


def commands(
    group: click.Group = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Every verb and noun below the root, with the words that call it."""
    for name, command in group.commands.items():
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


VERBS = dict(commands())


@pytest.mark.parametrize("path", VERBS)
def test_every_help_is_a_sentence_and_an_example(path):
    shown = CliRunner().invoke(main, [*path.split(), "--help"])
    assert shown.exit_code == 0
    assert shown.stderr == ""
    sentence = (VERBS[path].help or "").split("\n")[0]
    assert sentence.endswith((".", ":")) or "." in sentence
    assert re.search(r"Example:\n  expunge \S", shown.stdout)
    assert "--json" in shown.stdout
    assert "--store" in shown.stdout


@pytest.mark.parametrize("path", VERBS)
def test_every_example_is_a_call_of_its_verb(path):
    words = shlex.split(VERBS[path].example)
    assert words[0] == "expunge"
    group: click.Command = main
    context = click.Context(main, info_name="expunge")
    rest = words[1:]
    while isinstance(group, click.Group):
        name, group, rest = group.resolve_command(context, rest)
        context = group.make_context(name, list(rest), parent=context)
        if isinstance(group, click.Group):
            rest = context._protected_args + context.args
    called = context.command_path.removeprefix("expunge ")
    assert called == path or called.startswith(f"{path} ")


@pytest.mark.parametrize("path", VERBS)
def test_every_verb_is_documented_with_its_example(path):
    page = PAGE.read_text()
    section = page.partition(f"`{path}`\n")[2].partition("\n#")[0]
    assert section, f"no heading for {path}"
    assert VERBS[path].example in section


def test_the_page_documents_no_other_verb_and_every_exit_status():
    page = PAGE.read_text()
    assert set(re.findall(r"^##+ `([a-z -]+)`$", page, re.MULTILINE)) == set(VERBS)
    for code, status in BY_CODE.items():
        assert re.search(rf"^\| {status.value} \|.*`{code}`", page, re.MULTILINE), code


def subclasses(error: type[ExpungeError]) -> Iterator[type[ExpungeError]]:
    yield error
    for below in error.__subclasses__():
        yield from subclasses(below)


def test_every_error_code_has_an_exit_status():
    for package in (storage, lineage, unlearn):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("errors"):
                importlib.import_module(module.name)
    assert {error.code for error in subclasses(ExpungeError)} <= BY_CODE.keys()


def test_the_commands_own_modules_import_nothing_heavy():
    """Help is printed at once: what a verb needs is imported when it runs."""
    script = (
        "import sys, types\n"
        "package = types.ModuleType('unlearn')\n"
        f"package.__path__ = [{str(ROOT / 'unlearn')!r}]\n"
        "sys.modules['unlearn'] = package\n"
        "import unlearn.cli\n"
        "heavy = {'torch', 'numpy', 'pyarrow', 'sqlalchemy', 'pydantic', 'rich', 'networkx',"
        " 'duckdb', 'lineage'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.stdout.strip() == "[]", ran.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Missing command"),
        (("dataset",), "Missing command"),
        (("forget",), "No such command"),
        (("status", "--loudly"), "No such option"),
        (("plan",), "Missing argument"),
        (("run", "show"), "Missing argument"),
    ],
)
def test_a_usage_error_is_a_document_where_json_is_asked_for(words, said):
    answer = CliRunner().invoke(main, ["--json", *words])
    error = json.loads(answer.stdout)["error"]
    assert answer.exit_code == 2
    assert error.keys() == {"code", "message", "hint"}
    assert error["code"] == "usage"
    assert said in error["message"]
    assert "--help" in error["hint"]
    assert answer.stderr == ""


@pytest.mark.parametrize("words", [("forget",), ("status", "--loudly"), ("run", "show")])
def test_a_usage_error_is_on_standard_error_otherwise(words):
    answer = CliRunner().invoke(main, words)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "--help" in answer.stderr


@pytest.mark.parametrize(
    ("words", "twice"),
    [
        ("dataset add a a.csv --subject child --subject guardian", "--subject"),
        ("dataset add a a.csv --text n --id k --text=m", "--text"),
        ("request add --subjects one.txt --subjects two.txt", "--subjects"),
        ("--store one --store two status", "--store"),
    ],
)
def test_an_option_with_one_value_is_not_taken_twice(words, twice):
    answer = CliRunner().invoke(main, words.split())
    assert answer.exit_code == 2
    assert f"{twice} is given more than once" in answer.stderr


def test_flags_and_lists_may_be_repeated(trained):
    assert trained("status", "--json", "--json").status == 0
    assert trained("who-saw", "--subject", "p1", "--subject", "p2").status == 0


def test_a_bare_command_is_answered_with_its_help():
    answer = CliRunner().invoke(main, [])
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "who-saw" in answer.stderr


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    answer = CliRunner().invoke(main, ["--version"])
    assert answer.stdout.strip() == f"expunge, version {version('expunge')}"


def test_json_is_asked_for_before_or_after_the_verb(trained):
    after = trained("dataset", "list", "--json").out
    assert trained("--json", "dataset", "list").out == after
    assert trained("dataset", "--json", "list").out == after
    assert trained("--json", "show", "run-0", status=3).out.startswith("{")


def test_an_error_leaves_standard_output_empty_and_is_one_sentence_with_a_hint(trained):
    missing = trained("model", "show", "speach", status=3)
    assert missing.out == ""
    assert missing.err.splitlines() == [
        "error: there is no model 'speach'",
        "hint: did you mean 'speech'?",
    ]


def test_an_interruption_anywhere_is_130_and_a_sentence(trained, monkeypatch):
    import lineage.provenance.listing as listing

    def interrupted(_store):
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "datasets", interrupted)
    stopped = trained("dataset", "list", status=130)
    assert stopped.out == ""
    assert "interrupted: what was finished is kept" in stopped.err


def test_the_installed_command_is_this_one():
    ran = subprocess.run(
        [sys.executable, "-c", "from unlearn.cli import main; main()", "status", "--store", "no"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 3
    assert ran.stdout == ""
    assert "there is no store at no" in ran.stderr
