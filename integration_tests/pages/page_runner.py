"""Runs what a page of documentation shows, in the order in which it stands there: ``python page_runner.py PAGE.md`` in an empty folder.

Blocks of ``python`` run in one process, each ``bash`` block in a shell of its own, and a block with ``title="NAME"`` is written to
that file first. A block that takes long has a line before it that begins with **Long**, and behind it a block under **Short form**
that runs in its place. Blocks of the other languages in ``SHOWN`` are output, differences or pictures.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```\s*$", re.MULTILINE | re.DOTALL)
RUN = ("python", "bash")
WRITTEN = ("json", "yaml", "text", "ini")
SHOWN = ("text", "diff", "mermaid", "toml")


@dataclass(frozen=True)
class Block:
    """One fenced block: where it begins, its language, the file it is, its text, and the last line of text above it."""

    line: int
    language: str
    title: str
    text: str
    above: str

    @property
    def is_long(self) -> bool:
        return self.above.startswith("**Long**")

    @property
    def is_short_form(self) -> bool:
        return self.above.startswith("**Short form**")


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text, found = page.read_text(), []
    for match in FENCE.finditer(text):
        lines = [line.strip() for line in text[: match.start()].splitlines() if line.strip()]
        indent = len(match["indent"])
        body = "".join(line[min(indent, len(line) - len(line.lstrip(" "))) :] for line in match["text"].splitlines(keepends=True))
        title = re.search(r'title="([^"]+)"', match["info"])
        line = text[: match.start()].count("\n") + 1
        found.append(Block(line, match["language"], title[1] if title else "", body, lines[-1] if lines else ""))
    return found


def run(page: Path) -> int:
    """Run a page's blocks here; returns how many ran. Any error ends the program."""
    names, count = sys.modules["__main__"].__dict__, 0
    for block in blocks(page):
        if block.title:
            Path(block.title).write_text(block.text)
            continue
        if block.language not in RUN or block.is_long:
            continue
        print(f"--- {page.name}, line {block.line}", flush=True)
        if block.language == "bash":
            if subprocess.run(["bash", "-euo", "pipefail", "-c", block.text]).returncode:
                sys.exit(f"{page.name}, line {block.line}: a command failed")
        else:
            source = Path(f"{page.stem}_line_{block.line}.py")  # a file, since TorchScript reads the source of functions
            source.write_text(block.text)
            exec(compile(block.text, str(source.resolve()), "exec"), names)
        count += 1
    return count


if __name__ == "__main__":
    print(f"{run(Path(sys.argv[1]))} blocks ran")
