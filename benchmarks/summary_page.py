"""The table of all ratios in docs/results.md, from the stored lines.

python benchmarks/summary_page.py          # after a study has stored new runs; a test compares
"""

from __future__ import annotations

from pathlib import Path

from taafs_plugins.experiments.summary import markdown, summary

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "results.md"
START, END = "<!-- ratios: made by taafs reproduce summary --markdown -->\n", "<!-- end of ratios -->\n"


def shown() -> str:
    """The table as the page has it."""
    return PAGE.read_text().split(START)[1].split(END)[0]


if __name__ == "__main__":
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(before + START + markdown(summary(HERE / "results")) + END + rest.split(END)[1])
    print(f"Wrote {PAGE}")
