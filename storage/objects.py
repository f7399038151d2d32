"""Content-addressed blobs: a blob's name is the SHA-256 of its bytes."""

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import CorruptObjectError, InvalidInputError, SweptObjectError
from storage.folders import sync_folder

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PROCESS = secrets.token_hex(4)


class Objects:
    """Blobs under a folder, named by their sha256 (lower-case hex): ``ab/cdef…``.

    A blob is durable before its name exists: temporary file, fsync, rename, fsync of the folder.
    Every read hashes what it reads. Processes of one host may share the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._temporary = root / "tmp"
        self._claiming = 0
        self._counting = threading.Lock()
        self._claims: list[Path] = []

    def put(self, data: bytes) -> str:
        """Store ``data`` and return its digest; storing the same bytes again changes nothing."""
        path = self.temporary()
        try:
            path.write_bytes(data)
            return self.put_file(path)
        finally:
            path.unlink(missing_ok=True)

    def put_file(self, path: Path) -> str:
        """Adopt the finished file ``path``, which must lie on the same filesystem: it moves here.

        The file is hashed in a stream, never whole in memory. A damaged blob of the same digest is
        replaced by the good one.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        place = self._place(digest)
        if self._claiming:  # before it has its name: a sweep may come at once
            self._claims.append(self.temporary().with_suffix(f".{digest}"))
            self._claims[-1].touch()
        if self.verify(digest):
            path.unlink()
        else:
            _make_folder(place.parent)
            path.replace(place)
        sync_folder(place.parent)
        return digest

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Keep what is stored inside the block, by any thread, from the sweeps of other processes.

        To be ended after the transaction that refers to it. What a process claimed that died is
        swept.
        """
        with self._counting:
            self._claiming += 1
        try:
            yield
        finally:
            with self._counting:
                self._claiming -= 1
                while self._claims and not self._claiming:
                    self._claims.pop().unlink(missing_ok=True)

    def claimed(self) -> set[str]:
        """Return the digests that processes of this host which live are about to refer to."""
        names = (path.name for path in self._temporary.glob("*.*"))
        found = {name.rpartition(".")[2] for name in names if _writer_lives(name)}
        return {digest for digest in found if _DIGEST.fullmatch(digest)}

    def temporary(self) -> Path:
        """A fresh path for a writer whose file will be adopted by `put_file`."""
        _make_folder(self._temporary)
        return self._temporary / f"{os.getpid()}-{_PROCESS}-{secrets.token_hex(8)}"

    def get(self, digest: str) -> bytes:
        """The bytes of a blob, verified.

        Raises:
            CorruptObjectError: the blob is missing, or its bytes have another digest.
        """
        place = self._place(digest)
        if not place.is_file():
            raise _missing(digest)
        data = place.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise _damaged(digest)
        return data

    def open(self, digest: str) -> Path:
        """The path of a blob whose bytes were just verified, for readers that take paths.

        Raises:
            CorruptObjectError: the blob is missing, or its bytes have another digest.
        """
        if digest not in self:
            raise _missing(digest)
        if not self.verify(digest):
            raise _damaged(digest)
        return self._place(digest)

    def verify(self, digest: str) -> bool:
        """Whether the blob is there and its bytes have this digest."""
        place = self._place(digest)
        if not place.is_file():
            return False
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest

    def require(self, *digests: str) -> None:
        """Make sure that blobs are still there, inside the transaction that refers to them.

        Purge sweeps what nothing refers to, under the catalogue's write lock.

        Raises:
            SweptObjectError: one was swept since it was put.
        """
        for digest in digests:
            if digest not in self:
                raise SweptObjectError(
                    f"object {digest} was swept before anything referred to it",
                    hint="run the same command again",
                    digest=digest,
                )

    def put_again(self, digest: str, data: bytes) -> None:
        """Store what `put` stored, if it was swept before the transaction that refers to it.

        Inside a write transaction nothing is swept, so it is there until that ends.
        """
        if digest not in self:
            self.put(data)

    def delete(self, digest: str) -> bool:
        """Remove a blob durably; True if it was there."""
        place = self._place(digest)
        if not place.is_file():
            return False
        place.unlink()
        sync_folder(place.parent)
        return True

    def size(self, digest: str) -> int:
        """The blob's length in bytes.

        Raises:
            CorruptObjectError: the blob is missing.
        """
        if digest not in self:
            raise _missing(digest)
        return self._place(digest).stat().st_size

    def sweep_temporary(self) -> int:
        """Remove the temporary files of processes of this host that are gone; how many."""
        leftovers = [path for path in self._temporary.glob("*") if not _writer_lives(path.name)]
        for path in leftovers:
            path.unlink(missing_ok=True)
        return len(leftovers)

    def __contains__(self, digest: str) -> bool:
        return self._place(digest).is_file()

    def __iter__(self) -> Iterator[str]:
        for place in sorted(self.root.glob("[0-9a-f][0-9a-f]/*")):
            if _DIGEST.fullmatch(digest := place.parent.name + place.name):
                yield digest

    def _place(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise InvalidInputError(
                f"{digest!r} is not an object digest",
                hint="a digest is 64 lower-case hexadecimal characters",
            )
        return self.root / digest[:2] / digest[2:]


def _missing(digest: str) -> CorruptObjectError:
    return CorruptObjectError(
        f"object {digest} is missing", hint="restore it from a backup of the store", digest=digest
    )


def _damaged(digest: str) -> CorruptObjectError:
    return CorruptObjectError(
        f"object {digest} is damaged: its bytes have another digest",
        hint="restore it from a backup of the store",
        digest=digest,
    )


def _make_folder(folder: Path) -> None:
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_folder(made.parent)


def _writer_lives(name: str) -> bool:
    pid, _, rest = name.partition("-")
    if not pid.isdecimal():
        return False
    if int(pid) == os.getpid():  # in a container every process may have the same number
        return rest.startswith(_PROCESS)
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
