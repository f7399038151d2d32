"""The pages are true: their Python runs, their links lead somewhere.

Every ```python block of a page is executed, in order and in one namespace, as the script `page.py`
in an empty folder. A block whose first line is `# name.py` is that file, written before the script
starts, so that the script can import it. "```python skip" marks a fragment that cannot run alone.
A ```mermaid block is what the script left in `plan.mmd`, but for ids and seconds, and for the paths
that depend on them.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]
BLOCK = re.compile(r"^```python[ ]*(?P<mark>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^(```+).*?^\1$", re.DOTALL | re.MULTILINE)
CODE_SPAN = re.compile(r"`[^`\n]+`")
FILE_NAME = re.compile(r"# (?P<name>\w+\.py)\n")
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


DRAWN = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ID = re.compile(r"\b(run|ckpt|mv)-\w+")


def _drawing(text: str) -> list[str]:
    """The lines of a plan's picture, with its ids numbered as they come."""
    known: dict[str, str] = {}
    for found in ID.finditer(text):
        known.setdefault(found[0], f"{found[1]}-{len(known)}")
    text = ID.sub(lambda found: known[found[0]], text)
    lines = re.sub(r"[\d.]+ s\b", "… s", text).splitlines()
    return [line for line in lines if not line.startswith("  style")]


def _named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _blocks(page: str) -> Iterator[tuple[int, str]]:
    """Yield line number and code of every block that runs."""
    for block in BLOCK.finditer(page):
        if block["mark"] != "skip":
            yield page.count("\n", 0, block.start("code")), block["code"]


def _files(page: str) -> dict[str, str]:
    """Return the files a reader of the page ends up with, in the lines they have on the page."""
    files = {"page.py": ""}
    for line, code in _blocks(page):
        titled = FILE_NAME.match(code)
        name = titled["name"] if titled else "page.py"
        written = files.get(name, "")
        files[name] = written + "\n" * (line - written.count("\n")) + code
    return files


def _asked_again(code: str) -> str:
    """What a script does once more, from its receipt on: the same request may come again."""
    start = code.find("    receipt = ")
    return "" if start < 0 else code[start:]


def _headings(page: Path) -> set[str]:
    """Return the anchors GitHub and MyST give to the headings of a page."""
    titles = HEADING.findall(FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _broken(page: Path) -> Iterator[str]:
    for link in LINK.finditer(CODE_SPAN.sub("", FENCED.sub("", page.read_text()))):
        place, _, anchor = link["target"].partition("#")
        if re.match(r"[a-z]+:", place):
            continue
        target = (page.parent / place).resolve() if place else page
        inside = target.is_relative_to(ROOT) and target.exists()
        if not inside or (target.suffix == ".md" and anchor and anchor not in _headings(target)):
            yield link["target"]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(_blocks(page.read_text()))], ids=_named
)
def test_the_python_on_a_page_runs(page: Path, tmp_path: Path) -> None:
    for name, code in _files(page.read_text()).items():
        (tmp_path / name).write_text(code + _asked_again(code))
    settings = {name: value for name, value in os.environ.items() if name != "EXPUNGE_STORE"}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "page.py"],
        cwd=tmp_path,
        env={**settings, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    for block in DRAWN.finditer(page.read_text()):
        assert _drawing(block[1]) == _drawing((tmp_path / "plan.mmd").read_text())


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    assert list(_broken(page)) == []
