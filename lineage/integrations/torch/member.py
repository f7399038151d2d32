"""A process of a team that trains one model together, started by torchrun.

Run as ``python -m lineage.integrations.torch.member JSON``, with what is asked for by
`lineage.training.team.launch`.
"""

import gc
import json
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch.distributed as dist

from lineage.integrations.torch.group import Group
from lineage.store import Store
from lineage.training.execute import execute_in
from storage.errors import ExpungeError


def main(asked: dict[str, Any]) -> None:
    """Execute the run as a member of its team."""
    dist.init_process_group("gloo")
    try:
        with Store.open(Path(asked["store"])) as store:
            execute_in(
                Group(),
                store,
                asked["run"],
                asked["until"],
                allow_changed=asked["allow_changed"],
                owner=asked["owner"],
            )
    except ExpungeError as error:
        _say(error, Path(asked["error"]))
        sys.stderr.flush()
        os._exit(1)  # the others may wait for this process: nothing of it can be closed in order
    # Modules that are still wrapped when the group ends abort the process.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()
    Path(asked["done"]).touch()  # a program may leave with status 0 before its end


def _say(error: ExpungeError, place: Path) -> None:
    """Leave what went wrong, unless another process did so first."""
    words = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    words["traceback"] = "".join(traceback.format_exception(error))
    draft = place.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(words), "utf-8")
    with suppress(FileExistsError):
        os.link(draft, place)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
