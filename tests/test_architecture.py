"""What holds for every file of the project, whatever it does."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from importlinter.cli import lint_imports

pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parents[1]
PACKAGES = ("storage", "lineage", "unlearn")
FOLDERS = (*PACKAGES, "tests", "benchmarks", "examples", "docs")
LONGEST_FILE = 350
EMPTY_NAMES = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
UNSAFE_FORMATS = {"_pickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}


def _sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not {"migrations", "_build"} & set(path.parts):
                yield path


def _named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=_named(path))


def _nodes(*folders: str) -> Iterator[tuple[str, ast.AST]]:
    for path in _sources(*folders):
        name = _named(path)
        for node in ast.walk(_parsed(path)):
            yield f"{name}:{getattr(node, 'lineno', 0)}", node


def _imported(node: ast.AST) -> set[str]:
    match node:
        case ast.Import():
            return {alias.name for alias in node.names}
        case ast.ImportFrom(module=str(module), level=0):
            return {module}
    return set()


def _catches_everything(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler):
        return False
    caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(kind is None or ast.unparse(kind) == "Exception" for kind in caught)


def _reads_pickles(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if any(ast.unparse(word) == "allow_pickle=True" for word in node.keywords):
        return True
    return ast.unparse(node.func) in {"torch.load", "torch.save"}


def _declared_names(path: Path) -> list[str]:
    for node in _parsed(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def _by_kind_then_name(name: str) -> tuple[bool, bool, str]:
    numbers_aligned = re.sub(r"\d+", lambda digits: digits[0].zfill(9), name)
    return not name.isupper(), not name[:1].isupper(), numbers_aligned


def test_the_wheel_holds_the_three_packages_whole_and_nothing_else() -> None:
    shipped = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    written = {
        _named(path)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == written
    assert {Path(name).suffix for name in shipped} <= {".json", ".mako", ".py", ".typed"}


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in _sources(*PACKAGES)}
    assert [_named(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_imports_follow_the_layers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert lint_imports(no_cache=True, no_logo=True) == 0, capsys.readouterr().out


def test_the_core_is_imported_without_torch() -> None:
    script = ROOT / "tests" / "core_without_torch.py"
    ran = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr


def test_every_module_says_what_it_is_for() -> None:
    described = {_named(path): ast.get_docstring(_parsed(path)) for path in _sources(*PACKAGES)}
    assert [path for path, description in described.items() if not description] == []


def test_public_names_are_listed_in_order() -> None:
    listed = {_named(path): _declared_names(path) for path in _sources(*PACKAGES)}
    ordered = {path: sorted(names, key=_by_kind_then_name) for path, names in listed.items()}
    assert listed == ordered


def test_no_module_has_a_name_that_says_nothing() -> None:
    words = {
        path: {*path.relative_to(ROOT).parent.parts, *path.stem.split("_")}
        for path in _sources(*FOLDERS)
    }
    assert [_named(path) for path, found in words.items() if found & EMPTY_NAMES] == []


def test_files_stay_short() -> None:
    lengths = {_named(path): len(path.read_text().splitlines()) for path in _sources(*FOLDERS)}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_nothing_is_pickled() -> None:
    found = [
        where
        for where, node in _nodes(*FOLDERS)
        if {name.partition(".")[0] for name in _imported(node)} & UNSAFE_FORMATS
        or _reads_pickles(node)
    ]
    assert found == []


def test_no_handler_catches_everything() -> None:
    assert [where for where, node in _nodes(*FOLDERS) if _catches_everything(node)] == []
