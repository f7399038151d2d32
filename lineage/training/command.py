"""The command that trains a watched loop again: checked when it is recorded, and when it is used.

What cannot be started a second time is refused before training begins: what was typed, what was
read from standard input, what a notebook's kernel, a debugger or a launcher started.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

from lineage.errors import RunError

_KERNELS = frozenset({"colab_kernel_launcher", "ipykernel", "ipykernel_launcher"})
"""What executes the cells of a notebook: another process of it would wait for a notebook."""

_PROMPTS = frozenset(
    {"bpython", "debugpy", "idlelib", "ipython", "ipython3", "pdb", "ptipython", "ptpython"}
    | {"pydevd"}
)
"""What waits for somebody who types, unless it is given a script."""

_HINT = "name the command that trains it: observe(…, retrain=['python', 'train.py'])"


@dataclass(frozen=True, slots=True)
class Retraining:
    """How a loop is trained again: a command, and the folder to start it in."""

    command: tuple[str, ...]
    folder: Path

    def fault(self) -> str:
        """Return why the command cannot be started, as far as that can be seen, or nothing."""
        if not self.folder.is_dir():
            return f"there is no folder {self.folder}"
        if not self.command or _found(self.command[0], self.folder) is None:
            return f"there is no program {self.command[0] if self.command else ''!r}"
        if not Path(self.command[0]).name.startswith(("python", "pypy")):
            return ""
        executed = executed_by(self.command)
        if executed.form == "typed" or executed.name.startswith(("/dev/", "/proc/")):
            return "its script comes from standard input or a pipe"
        if executed.program in _KERNELS:
            return "it starts the kernel of a notebook"
        if executed.form == "script" and not (self.folder / executed.name).exists():
            return f"there is no script {self.folder / executed.name}"
        return ""


@dataclass(frozen=True, slots=True)
class Executed:
    """What Python was asked to execute: a ``script``, a ``module``, ``code``, or what is ``typed``.

    ``name`` is the path of a script, or the name of a module.
    """

    form: str
    name: str = ""

    @property
    def program(self) -> str:
        """The name without folders and suffix, in small letters: what kind of program it is."""
        return Path(self.name).stem.lower()


def retraining(asked: Sequence[str] | None, processes: int = 1) -> Retraining:
    """Return how the loop of this process is trained again: as asked, or as it was started.

    So many ``processes`` train together.

    Raises:
        RunError: nobody could start it a second time.
    """
    if asked is None:
        command = (sys.executable, *sys.orig_argv[1:])
        executed = executed_by(command)
        found = Retraining(command, _started_in(executed))
        fault = _unrepeatable(executed, processes) or found.fault()
    else:
        found = _asked(asked)
        fault = found.fault()
    if fault:
        raise RunError(f"the loop could not be trained again: {fault}", hint=_HINT)
    return found


def executed_by(command: Sequence[str]) -> Executed:
    """Return what a command of Python executes.

    >>> executed_by(["python", "-u", "-W", "error", "train.py", "-m", "3"])
    Executed(form='script', name='train.py')
    >>> executed_by(["python", "-Im", "pytest", "tests"]).name
    'pytest'
    >>> executed_by(["python", "-"]).form, executed_by(["python", "-i"]).form
    ('typed', 'typed')
    """
    words = iter(command[1:])
    for word in words:
        if word == "--":
            script = next(words, "-")
            return Executed("typed") if script == "-" else Executed("script", script)
        if word == "-":
            break
        if not word.startswith("-"):
            return Executed("script", word)
        option, value = _option(word)
        if option == "c":
            return Executed("code")
        if option == "m":
            return Executed("module", value or next(words, ""))
        if option and not value:
            next(words, None)
    return Executed("typed")


def _option(word: str) -> tuple[str, str]:
    """Return the option in a word that has a value, if one has, and what stands there of it.

    Letters may stand together, and the value right after its letter: ``-Im``, ``-Werror``.
    """
    if word.startswith("--"):
        return ("hashes", "") if word == "--check-hash-based-pycs" else ("", "")
    for place, letter in enumerate(word):
        if letter in "cmWX":
            return letter, word[place + 1 :]
    return "", ""


def _asked(words: Sequence[str]) -> Retraining:
    if isinstance(words, str):
        raise RunError(
            "retrain= is one text, and a command is a list of words",
            hint=f"observe(…, retrain={words.split()!r})",
        )
    return Retraining(tuple(map(str, words)), Path.cwd())


def _unrepeatable(executed: Executed, processes: int) -> str:
    """Return why another process of this one's command would not do what it does, or nothing."""
    if hasattr(sys, "ps1") or executed.program in _KERNELS | _PROMPTS:
        return "it was typed at a prompt or in a notebook, or is run by a debugger"
    if executed.form == "code" and _is_spawned():
        return "multiprocessing started this process, and not a command of its own"
    if "TORCHELASTIC_RUN_ID" in os.environ or (processes > 1 and parent_process() is None):
        return "a launcher such as torchrun started this process, and its command is not known here"
    return ""


def _is_spawned() -> bool:
    return parent_process() is not None and any("multiprocessing" in w for w in sys.orig_argv)


def _started_in(executed: Executed) -> Path:
    """The folder of the relative path by which a script was started; it may have left it since."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    if executed.form == "script" and file is not None:
        folder = file.removesuffix(f"{os.sep}{executed.name}")
        if folder != file:
            return Path(folder or os.sep)
    return Path.cwd()


def _found(program: str, folder: Path) -> str | None:
    """The path of a program: a name is looked up, a path is taken from the folder."""
    return shutil.which(folder / program if os.sep in program else program)
