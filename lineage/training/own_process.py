"""The process that executes a run, and those that it forks: these have copies, which train nothing.

What a copy notes, fits or keeps would be lost, or written twice.
"""

import os

from lineage.errors import ProgramError, RunError


class OwnProcess:
    """The process in which this was made."""

    def __init__(self) -> None:
        self._number = os.getpid()

    def require_for(self, function: str) -> None:
        """Make sure that a function of a run is called in the process that trains.

        Raises:
            ProgramError: it is not.
        """
        if os.getpid() != self._number:
            raise ProgramError(
                f"{function} was called in a process that the program started",
                hint="call it before that in the program itself, and hand on what it returns",
            )

    def require_to_watch(self, run_id: str) -> None:
        """Make sure that a loop does what is watched in the process that watches it.

        Raises:
            RunError: it does not.
        """
        if os.getpid() != self._number:
            raise RunError(
                f"run {run_id} is not watched in this process, which the loop started",
                hint="draw batches, train and keep checkpoints in the process that calls observe()",
            )
