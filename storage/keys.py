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
        """Keep ``value`` (default: fresh randomness) under a name that is not taken yet."""
        secret = secrets.token_bytes(32) if value is None else value
        path = self._path(name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(self.root, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        return secret

    def __contains__(self, name: str) -> bool:
        return self._path(name).exists()

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a secret")
        return self.root / name
