"""Notebooks as pages of the site: text as it is, cells as code, stored outputs behind them.

Written as Markdown and not as HTML, so that links are rewritten and checked like those of any page.
"""

import base64
from pathlib import Path

import nbformat

PICTURES = {"image/png": "png", "image/gif": "gif"}


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """The Markdown of a notebook, and its pictures by the names that the Markdown calls them."""
    parts, pictures = [], {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            kind = next((kind for kind in PICTURES if kind in data), None)
            if kind is not None:
                name = f"{path.stem}_{len(pictures)}.{PICTURES[kind]}"
                pictures[name] = base64.b64decode(data[kind])
                parts.append(f"![{path.stem}, picture {len(pictures)}]({name})")
            elif text := output.get("text") or data.get("text/plain"):
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", pictures
