"""Training programs: the user's functions that a run executes, and executes again."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineage.errors import ProgramError
from lineage.source import Source, changed_files, load, require_there, source_of
from lineage.user_code import user_code

TORCH = re.compile(r"^\s*(import|from)\s+torch\b", re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """A training function that can be executed again. Calling it calls the function."""

    function: Callable[[Any], None]
    source: Source

    @property
    def uses_torch(self) -> bool:
        """Whether torch is loaded, or is imported by a file of the program once it runs."""
        if "torch" in sys.modules:
            return True
        files = (self.source.root / name for name in self.source.files)
        return any(TORCH.search(file.read_text("utf-8")) for file in files)

    def __call__(self, run: Any) -> None:
        """Run the function."""
        self.function(run)

    def calling(self) -> AbstractContextManager[None]:
        """Name this program in whatever its code raises in a block: see `user_code`."""
        return user_code(self.source.ref, self.source.root)


def program(function: Callable[[Any], None]) -> Program:
    """Mark a function of one argument, the run, as a training program.

    Raises:
        ProgramError: a lambda, a nested function, or one typed into a notebook or standard input.
    """
    return Program(function, source_of(function))


def load_program(ref: str, root: Path) -> Program:
    """Import the program that ``ref`` names under the import root.

    Raises:
        ProgramError: it cannot be imported, or is no ``@lineage.program``.
    """
    found = load(ref, root)
    if not isinstance(found, Program):
        raise ProgramError(
            f"{ref} is not a training program", hint="decorate the function with @lineage.program"
        )
    return found


def require_source(
    ref: str, root: Path, files: Mapping[str, str], *, allow_changed: bool = False
) -> None:
    """Raise if a recorded program cannot be executed as it is now; import nothing.

    Raises:
        ProgramError: it is no longer where it was, or has changed and that is not allowed.
    """
    require_there(ref, root)
    if not allow_changed:
        refuse_changes(ref, changed_files(root, files))


def refuse_changes(ref: str, changed: Sequence[str]) -> None:
    """Raise if files of a program have changed.

    Raises:
        ProgramError: some have; they are named.
    """
    if changed:
        raise ProgramError(
            f"program {ref} has changed since it trained: {', '.join(changed)}",
            hint="restore the source, or pass --allow-changed: then the claim says so",
            changed=changed,
        )
