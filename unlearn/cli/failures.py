"""What the operating system refuses, as a sentence and what to do."""

import errno
import os
import traceback

_HINTS = {
    errno.ENOSPC: "make room on the disk, then run the same command again",
    errno.EDQUOT: "make room in the quota, then run the same command again",
    errno.EROFS: "the filesystem is read-only: use a store on one that can be written",
    errno.EACCES: "let its owner run the command, or change the permissions",
    errno.EPERM: "let its owner run the command, or change the permissions",
    errno.EIO: "check the disk, then run the same command again",
    errno.EMFILE: "allow the process more open files: ulimit -n",
}


def sentence_of(error: OSError) -> tuple[str, str]:
    """Return what happened and to which file, and what to do about it.

    A program or transform may have opened the file: the hint says where.
    """
    what = os.strerror(error.errno) if error.errno else "the operating system refuses"
    name = "" if error.filename is None else f"{error.filename}: "
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"it happened in {place.filename}, line {place.lineno}"
    hint = _HINTS.get(error.errno or 0, "")
    return f"{name}{what.lower() if not name else what}", f"{hint}; {where}" if hint else where
