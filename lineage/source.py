"""The user's functions: named by import path, pinned by the digest of their source.

What is executed again, in other processes and on other days, must be importable:
``module:function`` under an import root, or ``path/file.py:function`` relative to it.
"""

import ast
import hashlib
import importlib
import importlib.util
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import FunctionType, ModuleType

from lineage.errors import ProgramError
from lineage.user_code import user_code
from storage.ledger import json_digest

REMEDY = "put it at the top level of a module or script file, and name it as module:function"
SCRIPT_PREFIX = "expunge_script_"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a function lives and what its source was.

    ``files`` maps each file the function's module imports from the same package or folder, itself
    included, to the SHA-256 of its bytes; ``digest`` is over all of them.
    """

    ref: str
    root: Path
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over names and contents."""
        return json_digest({"files": self.files})


def load(ref: str, root: Path) -> object:
    """Import what ``module:name`` or ``file.py:name`` names under the import root.

    Raises:
        ProgramError: the reference is malformed, or the import fails.
        ProgramFailedError: the imported code raised an error of its own, or asked to exit.
    """
    place, _, name = ref.partition(":")
    if not place or not name:
        raise ProgramError(f"{ref!r} is not module:function", hint="for example train.py:train")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    with user_code(ref, root):
        try:
            module = _script(root / place) if place.endswith(".py") else _module(place, root)
        except (ImportError, AttributeError, SyntaxError, FileNotFoundError) as error:
            raise ProgramError(
                f"{ref} cannot be imported from {root}: {type(error).__name__}: {error}",
                hint="run from the folder that holds it, or pass --root",
            ) from error
        return _function(module, place, name)


def require_there(ref: str, root: Path) -> None:
    """Raise if a recorded function's file is no longer under its import root; import nothing.

    Raises:
        ProgramError: it was moved or removed, with how to let it be found again.
    """
    place = ref.partition(":")[0]
    dotted = place.replace(".", "/")
    names = [place] if place.endswith(".py") else [f"{dotted}.py", f"{dotted}/__init__.py"]
    if not any((root / name).is_file() for name in names):
        link = f"ln -s FOLDER {shlex.quote(str(root))}"
        raise ProgramError(
            f"{ref} is no longer in {root}",
            hint="put it back there"
            if root.exists()
            else f"move the folder back, or make a link to where it is now: {link}",
        )


def source_of(function: Callable[..., object]) -> Source:
    """Locate a function and digest the source it depends on.

    Raises:
        ProgramError: nobody could import it again.
    """
    if not isinstance(function, FunctionType):
        kind = type(function).__name__
        raise ProgramError(f"a {kind} object cannot be imported again", hint=REMEDY)
    name = function.__qualname__
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    if name == "<lambda>" or "<locals>" in name:
        raise ProgramError(f"{name} cannot be imported again: it is not named", hint=REMEDY)
    if module is None or file is None or not Path(function.__code__.co_filename).is_file():
        raise ProgramError(
            f"{name} cannot be imported again: it was typed into a notebook or standard input",
            hint=REMEDY,
        )
    path = Path(file).resolve()
    if module.__name__ == "__main__" or module.__name__.startswith(SCRIPT_PREFIX):
        place, root = path.name, path.parent
    else:
        place = module.__name__
        root = path.parents[place.count(".") + (path.name == "__init__.py")]
    files = digest_files(path, root)
    _check_siblings(files, root)
    return Source(f"{place}:{name}", root, files)


def digest_files(path: Path, root: Path) -> dict[str, str]:
    """Digest a source file and every file it imports from its package or folder, directly or not.

    The package is the outermost folder below ``root`` that holds the file; a file in ``root``
    itself has the whole folder. Imports are read from the source, not traced, so the answer does
    not depend on what ran. One that is computed at run time is not seen: a stated precondition.
    """
    inside = root / path.relative_to(root).parts[0]
    own = inside if inside.is_dir() else root
    seen: dict[str, str] = {}
    waiting = [path, *_packages(path, root)]
    while waiting:
        file = waiting.pop()
        name = file.relative_to(root).as_posix()
        if name not in seen:
            content = file.read_bytes()
            seen[name] = hashlib.sha256(content).hexdigest()
            found = _imported(ast.parse(content), file, root)
            waiting.extend(each for each in found if each.is_relative_to(own))
    return dict(sorted(seen.items()))


def _packages(path: Path, root: Path) -> Iterator[Path]:
    """The packages that importing ``path`` executes first."""
    for folder in path.relative_to(root).parents[:-1]:
        if (file := root / folder / "__init__.py").is_file():
            yield file


def _check_siblings(files: Mapping[str, str], root: Path) -> None:
    """Refuse modules that this process has already imported from elsewhere, under the same names.

    Python keeps one module a name, so the function would be executed with the other's.
    """
    for name in files:
        dotted = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        loaded = getattr(sys.modules.get(dotted), "__file__", None)
        if loaded is not None and not (root / name).samefile(loaded):
            raise ProgramError(
                f"{root / name} is not what this process imported as {dotted}: that is {loaded}",
                hint="run it in a process of its own, or rename one of them",
            )


def _function(module: ModuleType, place: str, name: str) -> object:
    """Return what a module calls ``name``.

    Raises:
        ProgramError: it has nothing of that name.
    """
    if hasattr(module, name):
        return getattr(module, name)
    public = [each for each in vars(module) if not each.startswith("_")]
    near = get_close_matches(name, public, n=1)
    raise ProgramError(
        f"{place} has no function {name!r}",
        hint=f"did you mean {place}:{near[0]}?" if near else f"name one that {place} defines",
    )


def _module(name: str, root: Path) -> ModuleType:
    """Import a module, and refuse one of the same name that lies elsewhere."""
    module = importlib.import_module(name)
    file = Path(module.__file__ or "").resolve()
    if not file.is_relative_to(root.resolve()):
        raise ProgramError(
            f"module {name!r} was imported from {file}, not from under {root}",
            hint=f"name the file instead, as {name.rpartition('.')[2]}.py:FUNCTION, or rename it",
        )
    return module


def _script(path: Path) -> ModuleType:
    """Import a script file under a name of its own, once a process and content."""
    content = hashlib.sha256(str(path.resolve()).encode() + path.read_bytes()).hexdigest()
    name = SCRIPT_PREFIX + content[:16]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _imported(tree: ast.Module, file: Path, root: Path) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(root, alias.name.split("."))
                yield from _files(file.parent, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            parts = node.module.split(".") if node.module else []
            starts = {file.parents[node.level - 1]} if node.level else {root, file.parent}
            for start in starts:
                yield from _files(start, parts)
                for alias in node.names:
                    yield from _files(start, [*parts, alias.name])


def _files(base: Path, parts: list[str]) -> Iterator[Path]:
    """The source files that importing the dotted ``parts`` under ``base`` would execute."""
    for depth in range(1, len(parts) + 1):
        place = base.joinpath(*parts[:depth])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                yield file


def changed_files(root: Path, files: Mapping[str, str]) -> list[str]:
    """Those of the recorded files (name → SHA-256) whose bytes are others now, or gone."""
    changed = []
    for name, digest in sorted(files.items()):
        try:
            now = hashlib.sha256((root / name).read_bytes()).hexdigest()
        except OSError:
            now = ""
        if now != digest:
            changed.append(name)
    return changed
