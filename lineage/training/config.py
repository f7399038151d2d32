"""The settings that a program was given."""

from types import SimpleNamespace
from typing import Any

from lineage.errors import MissingSettingError


class Config(SimpleNamespace):
    """The program's own settings, by attribute."""

    def __getattr__(self, name: str) -> Any:
        raise MissingSettingError(
            f"the program asks for config.{name}, which was not set",
            hint=f"pass --set {name}=VALUE, or use run.config.get({name!r}, default)",
        )

    def get(self, name: str, default: Any) -> Any:
        """A setting, or a default."""
        return vars(self).get(name, default)
