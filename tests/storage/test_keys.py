import os
import secrets
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from storage.catalogue import Catalogue
from storage.errors import NotFoundError
from storage.keys import Keys


@pytest.fixture
def keys(tmp_path: Path, catalogue: Catalogue) -> Keys:
    return Keys(tmp_path / "keys", catalogue)


def kept(keys: Keys, name: str, value: bytes = b"") -> bytes:
    """Keep a secret (default: a fresh one) in a transaction of its own."""
    secret = value or secrets.token_bytes(32)
    with keys._catalogue.write() as session:
        keys.keep(session, name, secret)
    return secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_can_read_a_secret_whatever_the_umask(
    tmp_path: Path, catalogue: Catalogue
) -> None:
    before = os.umask(0)
    try:
        keys = Keys(tmp_path / "keys", catalogue)
        keys.create("store")
    finally:
        os.umask(before)
    assert mode(tmp_path / "keys") == 0o700
    assert mode(tmp_path / "keys" / "store") == 0o600


def test_a_secret_is_32_random_bytes_and_comes_back(keys: Keys) -> None:
    made = [keys.create(f"draft-{number}") for number in range(20)]
    assert {len(secret) for secret in made} == {32}
    assert len(set(made)) == 20
    for number, secret in enumerate(made):
        kept(keys, f"salt-{number}", secret)
    again = Keys(keys.root, keys._catalogue)
    assert [again.get(f"salt-{number}") for number in range(20)] == made


def test_a_given_secret_is_kept_as_it_is(keys: Keys) -> None:
    kept(keys, "salt-ds", b"sixteen bytes...")
    assert keys.get("salt-ds") == b"sixteen bytes..."


def test_a_name_that_is_taken_keeps_its_secret(keys: Keys) -> None:
    secret = kept(keys, "store")
    with pytest.raises(FileExistsError):
        keys.create("store")
    assert keys.get("store") == secret
    assert [path.name for path in keys.root.iterdir()] == ["store"]


def test_a_missing_secret_is_named_with_the_file_to_restore(keys: Keys) -> None:
    assert "store" not in keys
    with pytest.raises(NotFoundError, match="'store'") as missing:
        keys.get("store")
    assert str(keys.root / "store") in missing.value.hint


@pytest.mark.parametrize("name", ["", "../store", "Store", "a/b", "a.b", "a\n"])
def test_a_name_that_could_leave_the_folder_is_refused(keys: Keys, name: str) -> None:
    for use in (keys.get, keys.create, keys.__contains__):
        with pytest.raises(ValueError, match="cannot name a secret"):
            use(name)


def test_a_deleted_secret_is_gone(keys: Keys) -> None:
    keys.create("salt-ds")
    keys.delete("salt-ds")
    assert "salt-ds" not in keys
    assert list(keys.root.iterdir()) == []


DIE = """
import os, sys
from pathlib import Path
from storage.catalogue import Catalogue
from storage.keys import Keys

def die(*_arguments):
    os._exit(9)

setattr(os, sys.argv[2], die)
Keys(Path(sys.argv[1]), Catalogue("sqlite://")).create("store")
"""


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_crash_while_a_secret_is_made_leaves_no_half_of_it(keys: Keys, call: str) -> None:
    died = subprocess.run([sys.executable, "-c", DIE, str(keys.root), call], check=False)
    assert died.returncode == 9
    assert "store" not in keys
    assert len(keys.create("store")) == 32
