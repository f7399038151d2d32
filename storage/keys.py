"""Secrets of a store: small files that only their owner may read."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.catalogue import Catalogue
from storage.catalogue.tables import KeyDigest
from storage.errors import DamagedStoreError, NotFoundError
from storage.folders import sync_folder

_NAME = re.compile(r"[a-z0-9-]+")


def digests_in(root: Path) -> Mapping[str, str]:
    """Return the SHA-256 (hex) of each secret under a folder, by its name."""
    return {
        path.name: _digest(path.read_bytes())
        for path in sorted(root.glob("*"))
        if _NAME.fullmatch(path.name)
    }


class Keys:
    """Named secrets of 32 bytes under a folder (0700), one file each (0600).

    ``store`` keys the fingerprints of the suppression list; ``salt-<dataset>`` is the secret
    schedule salt of a dataset. The catalogue has the digest of each: under a damaged secret nobody
    who was erased would be recognised, so it is never used. A plain SHA-256 tells nothing about 32
    random bytes.
    """

    def __init__(self, root: Path, catalogue: Catalogue) -> None:
        self.root = root
        self._catalogue = catalogue
        self._known: dict[str, str] = {}
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def get(self, name: str) -> bytes:
        """The secret of this name.

        Raises:
            NotFoundError: there is none.
            DamagedStoreError: it is not the secret that was kept under this name.
        """
        path = self._path(name)
        try:
            secret = path.read_bytes()
        except FileNotFoundError:
            raise NotFoundError(
                f"the secret {name!r} is not among the keys of this store",
                hint=f"restore {path} from a backup: without it nothing can be matched",
            ) from None
        if name not in self._known:
            with self._catalogue.read() as session:
                self._known |= self.recorded(session)
        if self._known.get(name) != _digest(secret):
            raise DamagedStoreError(
                f"the secret {name!r} of this store is damaged: {_fault(self._known.get(name))}",
                hint=f"restore {path} from a backup of the store: nothing else matches",
                name=name,
            )
        return secret

    def create(self, name: str, value: bytes | None = None) -> bytes:
        """Keep ``value`` (default: fresh randomness) under a name that is not taken yet.

        A crash leaves the whole secret under its name, or nothing. It can be read once its digest
        is in the catalogue: see `keep`.

        Raises:
            FileExistsError: the name is taken; its secret stays.
        """
        path = self._path(name)
        secret = secrets.token_bytes(32) if value is None else value
        draft = self.root / f".{secrets.token_hex(8)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secret)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)  # unlike a rename, it never replaces
        finally:
            draft.unlink()
        sync_folder(self.root)
        return secret

    def keep(self, session: Session, name: str, value: bytes) -> None:
        """Keep a secret together with what the caller's write transaction says of its owner.

        What a crash left under the name is replaced: without a digest nothing was made with it.
        """
        assert session.get(KeyDigest, name) is None, f"the secret {name!r} is kept already"
        path = self._path(name)
        path.unlink(missing_ok=True)
        self.create(name, value)
        session.add(KeyDigest(name=name, digest=_digest(value)))
        session.flush()

    def sweep(self, session: Session) -> int:
        """Destroy, under the write lock, what writers that died left; returns how many files went.

        Every secret is written in a write transaction, so nobody is writing one now.
        """
        leftovers = self.leftovers(session)
        for path in leftovers:
            path.unlink()
        sync_folder(self.root)
        return len(leftovers)

    def leftovers(self, session: Session) -> list[Path]:
        """Return the files of secrets that nothing was made with, and of half-written ones."""
        recorded = self.recorded(session)
        return [path for path in sorted(self.root.iterdir()) if path.name not in recorded]

    def problems(self, session: Session) -> Iterator[str]:
        """Say in a sentence each what is wrong with a secret that is in use."""
        for name, digest in self.recorded(session).items():
            path = self.root / name
            if not path.is_file():
                yield f"the secret {name!r} is not among the keys"
            elif _digest(path.read_bytes()) != digest:
                yield f"the secret {name!r} is damaged: restore {path} from a backup of the store"

    def recorded(self, session: Session) -> dict[str, str]:
        """Return the digests that the catalogue has, by name."""
        rows = session.execute(select(KeyDigest.name, KeyDigest.digest))
        return {name: digest for name, digest in rows}  # noqa: C416

    def delete(self, name: str) -> None:
        """Destroy a secret; what was keyed with it can never be matched again."""
        self._path(name).unlink()
        sync_folder(self.root)

    def __contains__(self, name: str) -> bool:
        return self._path(name).exists()

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a secret")
        return self.root / name


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


def _fault(known: str | None) -> str:
    return "the catalogue has no digest of it" if known is None else "its bytes have another digest"
