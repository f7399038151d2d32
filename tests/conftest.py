"""What all tests share: where real data lies, how hypothesis searches, how many threads run."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests import soak_counts

# Before anything imports torch or NumPy, and inherited by the processes that tests start: bytes
# depend on the number of threads, and test processes share the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    # Whole histories are slow to shrink: a failure is reported at once, `shrink` looks closer.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("shrink", settings.get_profile("ci"), phases=list(Phase))
settings.register_profile("soak", settings.get_profile("ci"), derandomize=False, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell and write down what `make soak` compared."""
    if soak_counts.COUNTED and "SOAK_SECONDS" in os.environ:
        told = ", ".join(f"{name} {count}" for name, count in soak_counts.COUNTED.items())
        terminalreporter.write_line(f"{soak_counts.write()}: {told}")


def absent(resource: str, reason: str) -> NoReturn:
    """Skip the test that needs the resource; fail it where EXPUNGE_REQUIRE names the resource."""
    if resource in os.environ.get("EXPUNGE_REQUIRE", "").split(","):
        pytest.fail(f"EXPUNGE_REQUIRE names {resource!r}, and {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data sets: EXPUNGE_DATA, or ../shared/data beside the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("EXPUNGE_DATA") or beside)
    if not folder.is_dir():
        absent("data", f"the real data sets are not at {folder}: set EXPUNGE_DATA to their folder")
    return folder


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Undo what the code of an earlier test pinned; torch is never imported for it."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def loaded() -> Callable[[Path], ModuleType]:
    """Import a support module by its file: tests are imported without packages."""

    def load(path: Path) -> ModuleType:
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def workshop(loaded: Callable[[Path], ModuleType]) -> ModuleType:
    """The module ``workshop.py`` beside this one."""
    return loaded(Path(__file__).with_name("workshop.py"))


@pytest.fixture(scope="session")
def empty_once(workshop: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with nothing in it; tests get copies, which is faster than its migrations."""
    path = tmp_path_factory.mktemp("empty") / "store"
    workshop.Store.create(path, workshop.Clock()).close()
    return path


@pytest.fixture
def store(workshop: ModuleType, empty_once: Path, tmp_path: Path) -> Iterator[Any]:
    """A new store, whose clock passes a second whenever it is asked."""
    shutil.copytree(empty_once, tmp_path / "store")
    with workshop.Store.open(tmp_path / "store", workshop.Clock()) as opened:
        yield opened


@pytest.fixture(scope="session")
def program_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The import root of the program ``tally.py``."""
    folder = tmp_path_factory.mktemp("program")
    shutil.copy(Path(__file__).with_name("tally.py"), folder)
    return folder


@pytest.fixture
def tally(
    workshop: ModuleType, program_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """People, and a program in NumPy that notes what it is given."""
    made = workshop.Bench(program_folder, tmp_path)
    monkeypatch.setenv("TALLY_LOG", str(made.log))
    monkeypatch.setenv("TALLY_TRAP", str(made.trap))
    return made


@pytest.fixture(scope="session")
def trained_once(
    workshop: ModuleType, program_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store in which model ``m`` was trained on ``people``; tests get copies."""
    folder = tmp_path_factory.mktemp("trained")
    bench = workshop.Bench(program_folder, folder)
    with workshop.Store.create(folder / "store", workshop.Clock()) as store:
        bench.register(store)
        bench.train(store)
    return folder / "store"


@pytest.fixture
def trained(workshop: ModuleType, trained_once: Path, tmp_path: Path) -> Iterator[Any]:
    """A store of the test's own in which model ``m`` was trained, a day ago, on ``people``."""
    shutil.copytree(trained_once, tmp_path / "store")
    with workshop.Store.open(tmp_path / "store", workshop.Clock(days=1)) as opened:
        yield opened


@pytest.fixture
def twin_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twins are trained in this process: what isolates them is shown where it is the question."""
    from storage import child
    from unlearn.twin import compare
    from unlearn.twin import train as twin

    def train(words: list[str], **_: Any) -> Any:
        folder = Path(words[-1])
        with redirect_stdout(StringIO()):
            (folder / "result.json").write_text(json.dumps(twin.train(folder)))
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(compare, "child", SimpleNamespace(run=train, python=child.python))


@pytest.fixture(scope="session")
def strace() -> str:
    """The program strace, which can make a system call fail or kill its caller."""
    found = shutil.which("strace")
    if found is None:
        absent("strace", "strace is not installed")
    return found
