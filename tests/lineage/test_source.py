"""Where a function lives, and what its digest covers."""

import hashlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lineage.errors import ProgramError
from lineage.source import changed_files, digest_files, load, source_of


@pytest.fixture(autouse=True)
def _own_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test imports and where from is gone after it."""
    before = dict(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]


def files(root: Path, contents: dict[str, str]) -> None:
    """Write files below a folder."""
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def names(root: Path, module: str) -> list[str]:
    return list(digest_files(root / module, root))


def test_a_script_is_named_by_file_and_function(tmp_path: Path) -> None:
    files(tmp_path, {"script.py": "def train(): return 7"})
    function = load("script.py:train", tmp_path)
    source = source_of(function)
    assert (source.ref, source.root) == ("script.py:train", tmp_path)
    assert source.files == {"script.py": hashlib.sha256(b"def train(): return 7").hexdigest()}
    assert load(source.ref, source.root) is function


def test_a_script_may_lie_below_the_root_or_anywhere(tmp_path: Path) -> None:
    files(tmp_path, {"deep/script.py": "def train(): pass"})
    below = load("deep/script.py:train", tmp_path)
    assert load(f"{tmp_path}/deep/script.py:train", Path("/")) is below
    assert source_of(below).root == tmp_path / "deep"


def test_a_module_is_named_from_its_import_root(tmp_path: Path) -> None:
    files(tmp_path, {"package/__init__.py": "", "package/inner/train.py": "def train(): pass"})
    source = source_of(load("package.inner.train:train", tmp_path))
    assert (source.ref, source.root) == ("package.inner.train:train", tmp_path)
    assert "package/inner/train.py" in source.files


def test_a_package_itself_can_hold_the_function(tmp_path: Path) -> None:
    files(tmp_path, {"outer/inner/__init__.py": "def train(): pass", "outer/__init__.py": ""})
    source = source_of(load("outer.inner:train", tmp_path))
    assert (source.ref, source.root) == ("outer.inner:train", tmp_path)


@pytest.mark.parametrize("ref", ["train", "train.py", ":train", "train:", ""])
def test_a_reference_without_a_function_is_refused(tmp_path: Path, ref: str) -> None:
    with pytest.raises(ProgramError, match="not module:function") as refused:
        load(ref, tmp_path)
    assert "train.py:train" in refused.value.hint


@pytest.mark.parametrize(
    ("ref", "why"),
    [
        ("absent.py:train", "No such file"),
        ("absent_module:train", "No module named 'absent_module'"),
        ("needs.py:train", "No module named 'a_library_nobody_has'"),
        ("broken.py:train", "SyntaxError"),
    ],
)
def test_what_cannot_be_imported_says_which_why_and_the_remedy(
    tmp_path: Path, ref: str, why: str
) -> None:
    files(
        tmp_path,
        {
            "script.py": "",
            "needs.py": "import a_library_nobody_has",
            "broken.py": "def train(:",
        },
    )
    with pytest.raises(ProgramError) as refused:
        load(ref, tmp_path)
    assert refused.value.message.startswith(f"{ref} cannot be imported from {tmp_path}: ")
    assert why in refused.value.message
    assert "--root" in refused.value.hint


@pytest.mark.parametrize("place", ["script.py", "package.inner"])
def test_a_misspelt_function_is_named_with_the_one_that_is_near(tmp_path: Path, place: str) -> None:
    files(tmp_path, {"script.py": "def train(): pass", "package/inner.py": "def train(): pass"})
    with pytest.raises(ProgramError) as refused:
        load(f"{place}:trian", tmp_path)
    assert refused.value.message == f"{place} has no function 'trian'"
    assert refused.value.hint == f"did you mean {place}:train?"
    with pytest.raises(ProgramError) as refused:
        load(f"{place}:nothing_like_it", tmp_path)
    assert refused.value.hint == f"name one that {place} defines"


def test_a_script_that_failed_once_is_imported_again(tmp_path: Path) -> None:
    files(tmp_path, {"script.py": "import not_there_yet\ndef train(): pass"})
    with pytest.raises(ProgramError):
        load("script.py:train", tmp_path)
    files(tmp_path, {"not_there_yet.py": ""})
    assert callable(load("script.py:train", tmp_path))


def test_a_changed_script_is_another_module(tmp_path: Path) -> None:
    files(tmp_path, {"script.py": "def train(): return 1"})
    first = load("script.py:train", tmp_path)
    files(tmp_path, {"script.py": "def train(): return 2"})
    second = load("script.py:train", tmp_path)
    assert (first(), second()) == (1, 2)


def test_the_digest_follows_a_sibling_and_its_imports_and_nothing_else(tmp_path: Path) -> None:
    files(
        tmp_path,
        {
            "script.py": "import os, json, sibling\ndef train(): pass",
            "sibling.py": "from deeper import nested",
            "deeper/nested.py": "x = 1",
            "unrelated.py": "x = 1",
        },
    )
    before = digest_files(tmp_path / "script.py", tmp_path)
    assert list(before) == ["deeper/nested.py", "script.py", "sibling.py"]
    files(tmp_path, {"unrelated.py": "x = 2"})
    assert digest_files(tmp_path / "script.py", tmp_path) == before
    files(tmp_path, {"deeper/nested.py": "x = 2"})
    assert digest_files(tmp_path / "script.py", tmp_path) != before


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("import helper", ["helper.py"]),
        ("import helper as h", ["helper.py"]),
        ("import package", ["package/__init__.py"]),
        ("import package.a", ["package/__init__.py", "package/a.py"]),
        ("from package import a", ["package/__init__.py", "package/a.py"]),
        ("from package.a import value", ["package/__init__.py", "package/a.py"]),
        ("from package import *", ["package/__init__.py"]),
        ("def f():\n    import helper", ["helper.py"]),
        ("try:\n    import helper\nexcept ImportError:\n    pass", ["helper.py"]),
        ("if False:\n    import package.a", ["package/__init__.py", "package/a.py"]),
        ("text = 'import helper'", []),
        ("from .. import helper", []),
    ],
)
def test_every_way_to_import_is_followed(tmp_path: Path, statement: str, found: list[str]) -> None:
    files(
        tmp_path,
        {
            "script.py": statement,
            "helper.py": "",
            "package/__init__.py": "",
            "package/a.py": "value = 1",
        },
    )
    (tmp_path.parent / "helper.py").write_text("# of another folder")
    assert names(tmp_path, "script.py") == sorted(["script.py", *found])


def test_relative_imports_are_followed_inside_a_package(tmp_path: Path) -> None:
    files(
        tmp_path,
        {
            "package/__init__.py": "",
            "package/train.py": "from . import data, inner\nfrom .models import net\n",
            "package/inner/__init__.py": "from . import deep",
            "package/data.py": "",
            "package/models/__init__.py": "",
            "package/models/net.py": "from ..data import y",
            "package/inner/deep.py": "from ... import package",
            "package/other.py": "",
        },
    )
    assert names(tmp_path, "package/train.py") == [
        "package/__init__.py",
        "package/data.py",
        "package/inner/__init__.py",
        "package/inner/deep.py",
        "package/models/__init__.py",
        "package/models/net.py",
        "package/train.py",
    ]


def test_modules_that_import_each_other_are_each_read_once(tmp_path: Path) -> None:
    files(tmp_path, {"script.py": "import other", "other.py": "import script"})
    assert names(tmp_path, "script.py") == ["other.py", "script.py"]


def test_a_module_linked_from_elsewhere_is_covered(tmp_path: Path) -> None:
    files(tmp_path, {"root/script.py": "import linked", "shared/linked.py": "x = 1"})
    (tmp_path / "root" / "linked.py").symlink_to(tmp_path / "shared" / "linked.py")
    before = digest_files(tmp_path / "root" / "script.py", tmp_path / "root")
    assert list(before) == ["linked.py", "script.py"]
    files(tmp_path, {"shared/linked.py": "x = 2"})
    assert digest_files(tmp_path / "root" / "script.py", tmp_path / "root") != before


def test_changed_and_missing_files_are_named(tmp_path: Path) -> None:
    files(tmp_path, {"a.py": "1", "b.py": "2", "c.py": "3"})
    recorded = {
        f"{name}.py": hashlib.sha256((tmp_path / f"{name}.py").read_bytes()).hexdigest()
        for name in "abc"
    }
    assert changed_files(tmp_path, recorded) == []
    files(tmp_path, {"b.py": "20"})
    (tmp_path / "c.py").unlink()
    assert changed_files(tmp_path, recorded) == ["b.py", "c.py"]


def test_what_has_no_name_of_its_own_is_refused_with_the_remedy() -> None:
    def nested() -> None: ...

    for function, name in (
        (lambda: None, "<lambda>"),
        (nested, "nested"),
        (partial(nested), "partial"),
    ):
        with pytest.raises(ProgramError, match=name) as refused:
            source_of(function)
        assert "top level of a module or script" in refused.value.hint


def test_a_function_typed_into_a_notebook_is_refused_with_the_remedy() -> None:
    cell: dict[str, object] = {"__name__": "__main__"}
    exec("def train(): pass", cell)
    with pytest.raises(ProgramError, match="notebook or standard input") as refused:
        source_of(cell["train"])
    assert "top level of a module or script" in refused.value.hint


def test_a_function_from_standard_input_is_refused_with_the_remedy() -> None:
    program = (
        "from lineage.source import source_of\n"
        "from lineage.errors import ProgramError\n"
        "def train(): pass\n"
        "try:\n    source_of(train)\n"
        "except ProgramError as refused:\n    print(refused, '|', refused.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-"], input=program, capture_output=True, text=True, check=True
    )
    assert "standard input" in done.stdout
    assert "top level of a module or script" in done.stdout


def test_a_script_that_is_run_is_named_as_another_process_will_import_it(tmp_path: Path) -> None:
    files(
        tmp_path,
        {
            "script.py": "from lineage.source import source_of\ndef train(): pass\n"
            "if __name__ == '__main__':\n    s = source_of(train); print(s.ref, s.root, *s.files)",
        },
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["script.py:train", str(tmp_path), "script.py"]


def test_a_sibling_of_the_same_name_in_another_folder_is_not_taken_for_it(tmp_path: Path) -> None:
    # Python keeps one module a name, so the second program would run with the first one's helper.
    for folder in ("one", "two"):
        files(
            tmp_path / folder,
            {
                "script.py": "import the_helper\ndef train(): return the_helper.value",
                "the_helper.py": f"value = {folder!r}",
            },
        )
    first = load("script.py:train", tmp_path / "one")
    assert first() == "one"
    second = load("script.py:train", tmp_path / "two")
    with pytest.raises(ProgramError, match=r"two/the_helper\.py is not what") as refused:
        source_of(second)
    assert "process of its own" in refused.value.hint


def test_a_package_installed_beside_others_is_digested_without_them(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    files(
        site,
        {
            "mine/__init__.py": "",
            "mine/train.py": "import huge\ndef train(): pass",
            "huge/__init__.py": "",
        },
    )
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    source = source_of(load("mine.train:train", site))
    assert list(source.files) == ["mine/__init__.py", "mine/train.py"]
