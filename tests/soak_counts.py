"""What `make soak` compared: counted where it happens, written down at the end."""

import json
import os
from collections import Counter
from pathlib import Path

COUNTED: Counter[str] = Counter()
"""How often something was compared, raced, killed, damaged or made to fail (an injection).

What is wrong fails its test.
"""


def write() -> Path:
    """Put the counts into the file that SOAK_JSON names, beside what else is there."""
    path = Path(os.environ.get("SOAK_JSON", "soak.json"))
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**known, **COUNTED}, indent=2) + "\n", "utf-8")
    return path
