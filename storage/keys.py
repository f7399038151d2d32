"""Secrets of a store: small files that only their owner may read."""

import os
import re
import secrets
from pathlib import Path

from storage.errors import NotFoundError

_NAME = re.compile(r"[a-z0-9-]+")


class Keys:
    """Named 32-byte secrets under a folder (0700), one file each (0600).

    ``store`` keys the fingerprints of the suppression list; ``salt-<dataset>`` is the secret
    schedule salt of a dataset.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def get(self, name: str) -> bytes:
        """The secret of this name.

        Raises:
            NotFoundError: there is none.
        """
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            raise NotFoundError(
                f"the secret {name!r} is not among the keys of this store",
                hint=f"restore {self._path(name)} from a backup: without it nothing can be matched",
            ) from None

    def create(self, name: str, value: bytes | None = None) -> bytes:
        """Keep ``value`` (default: fresh randomness) under a name that is not taken yet.

        A crash leaves the whole secret under its name, or nothing.

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
        self._sync()
        return secret

    def delete(self, name: str) -> None:
        """Destroy a secret; what was keyed with it can never be matched again."""
        self._path(name).unlink()
        self._sync()

    def __contains__(self, name: str) -> bool:
        return self._path(name).exists()

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a secret")
        return self.root / name

    def _sync(self) -> None:
        folder = os.open(self.root, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
