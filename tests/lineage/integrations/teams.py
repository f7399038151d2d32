"""Teams without torchrun: forks of a process that imported once what each would import anew."""

import json
import os
import socket
import subprocess
from collections.abc import Sequence
from multiprocessing import get_context
from typing import Any

FORKS = get_context("forkserver")
IMPORTED = ["lineage.integrations.torch.member", "torch.optim", "torch._dynamo"]


def launched(words: Sequence[str], **_: Any) -> Any:
    """Start a team as the command for torchrun asks, and wait for it."""
    size, asked = int(words[words.index("--nproc-per-node") + 1]), json.loads(words[-1])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    FORKS.set_forkserver_preload(IMPORTED)
    team = [
        FORKS.Process(target=_member, args=(asked, {**place, "RANK": str(rank)}))
        for rank in range(size)
    ]
    for process in team:
        process.start()
    for process in team:
        process.join()
    status = max(abs(process.exitcode) for process in team)
    return subprocess.CompletedProcess(words, status, "", "")


def _member(asked: dict[str, Any], place: dict[str, str]) -> None:
    from lineage.integrations.torch.member import main

    os.environ.update(place)
    main(asked)
