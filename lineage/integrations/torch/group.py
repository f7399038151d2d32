"""The process group of torch as a team."""

from typing import Any

import torch.distributed as dist

from lineage.training.team import Alone, Team


class Group:
    """The processes of the default group, which is there already."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()

    def tell(self, word: Any) -> Any:
        """What the first process says."""
        words = [word]
        dist.broadcast_object_list(words, src=0)
        return words[0]

    def gather(self, word: Any) -> list[Any]:
        """What every process says, by rank."""
        words: list[Any] = [None] * self.size
        dist.all_gather_object(words, word)
        return words


def current_team() -> Team:
    """The team of this process: its default group, or itself alone."""
    together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return Group() if together else Alone()
