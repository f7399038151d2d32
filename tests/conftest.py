"""What all tests share: where real data lies, how hypothesis searches, how many threads run."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports torch or NumPy, and inherited by the processes that tests start: bytes
# depend on the number of threads, and test processes share the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("soak", settings.get_profile("ci"), derandomize=False, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


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
