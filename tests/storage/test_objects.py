import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import CorruptObjectError, InvalidInputError
from storage.objects import Objects

ABSENT = "0" * 64


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "objects")


def path_of(objects: Objects, digest: str) -> Path:
    return objects.root / digest[:2] / digest[2:]


@given(blobs=st.lists(st.binary(max_size=200), max_size=8))
def test_what_was_put_is_read_back_under_its_sha256(
    tmp_path_factory: pytest.TempPathFactory, blobs: list[bytes]
) -> None:
    objects = Objects(tmp_path_factory.mktemp("store"))
    digests = [objects.put(blob) for blob in blobs]
    assert digests == [sha256(blob).hexdigest() for blob in blobs]
    assert [objects.get(digest) for digest in digests] == blobs
    assert [objects.size(digest) for digest in digests] == [len(blob) for blob in blobs]
    assert sorted(objects) == sorted(set(digests))


def test_putting_the_same_bytes_again_changes_nothing(objects: Objects) -> None:
    digest = objects.put(b"once")
    before = path_of(objects, digest).stat()
    assert objects.put(b"once") == digest
    after = path_of(objects, digest).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert list(objects.root.glob("tmp/*")) == []


def test_a_finished_file_is_adopted_and_moves(objects: Objects) -> None:
    for _ in range(2):
        path = objects.temporary()
        path.write_bytes(b"written by another library")
        digest = objects.put_file(path)
        assert not path.exists()
    assert objects.open(digest).read_bytes() == b"written by another library"
    (path_of(objects, digest).parent / "not-a-digest").touch()
    assert list(objects) == [digest]


def test_bytes_are_durable_before_the_name_and_the_name_before_the_answer(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.put(b"so that the folders exist")
    calls: list[str] = []
    sync, replace = os.fsync, os.replace

    def recorded_sync(descriptor: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "bytes")
        sync(descriptor)

    def recorded_replace(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_sync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    objects.put(b"another")
    assert calls[0] == "bytes"
    assert calls[calls.index("rename") :] == ["rename", "folder"]


@pytest.mark.parametrize("read", ["get", "open"])
def test_a_flipped_byte_is_named_on_read(objects: Objects, read: str) -> None:
    digest = objects.put(b"some bytes")
    path_of(objects, digest).write_bytes(b"some bytez")
    with pytest.raises(CorruptObjectError, match=f"{digest} is damaged") as caught:
        getattr(objects, read)(digest)
    assert caught.value.fields == {"digest": digest}
    assert not objects.verify(digest)


@pytest.mark.parametrize("read", ["get", "open", "size"])
def test_a_missing_object_is_named_on_read(objects: Objects, read: str) -> None:
    with pytest.raises(CorruptObjectError, match=f"{ABSENT} is missing"):
        getattr(objects, read)(ABSENT)
    assert not objects.verify(ABSENT)
    assert ABSENT not in objects


def test_putting_good_bytes_repairs_a_damaged_object(objects: Objects) -> None:
    digest = objects.put(b"some bytes")
    path_of(objects, digest).write_bytes(b"some bytez")
    objects.put(b"some bytes")
    assert objects.get(digest) == b"some bytes"


def test_a_deleted_object_is_gone_and_deleting_says_whether_it_was_there(objects: Objects) -> None:
    digest = objects.put(b"personal")
    assert objects.delete(digest)
    assert digest not in objects
    assert list(objects) == []
    assert not objects.delete(digest)


@pytest.mark.parametrize("digest", ["", "../" * 21 + "x", "A" * 64, "0" * 63, "0" * 64 + "\n"])
@pytest.mark.parametrize("use", ["get", "open", "verify", "delete", "size", "__contains__"])
def test_what_is_not_a_digest_never_becomes_a_path(objects: Objects, use: str, digest: str) -> None:
    with pytest.raises(InvalidInputError, match="is not an object digest"):
        getattr(objects, use)(digest)


def test_leftovers_of_processes_that_are_gone_are_swept_and_work_in_hand_is_not(
    objects: Objects,
) -> None:
    in_hand = objects.temporary()
    in_hand.write_bytes(b"half")
    program = (
        "import sys, pathlib; from storage.objects import Objects;"
        "Objects(pathlib.Path(sys.argv[1])).temporary().write_bytes(b'left')"
    )
    subprocess.run([sys.executable, "-c", program, str(objects.root)], check=True)
    alive = objects.root / "tmp" / f"{os.getppid()}-00000000-half"
    alive.write_bytes(b"half")
    (objects.root / "tmp" / "foreign").write_bytes(b"left")
    # In a container each process may get the number of the one that crashed before it.
    (objects.root / "tmp" / f"{os.getpid()}-00000000-left").write_bytes(b"left")
    assert objects.sweep_temporary() == 3
    assert set(objects.root.glob("tmp/*")) == {in_hand, alive}


def test_an_empty_store_has_nothing_to_sweep(objects: Objects) -> None:
    assert objects.sweep_temporary() == 0
    assert list(objects) == []
