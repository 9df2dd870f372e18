"""``taafs reproduce summary`` and ``taafs recipe``: ratios from the stored lines of the studies, and what follows from them."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from rich.console import Console

import taafs_plugins
from taafs_plugins.cli.programs import ProgramError, shipped
from taafs_plugins.experiments.recipes import RECIPES, Recipe
from taafs_plugins.experiments.summary import facts, markdown, summary

USAGE = "taafs reproduce summary [--json | --markdown] [--results FOLDER]"


def stored() -> Path:
    """Where the stored lines lie: ``benchmarks/results`` of the checkout, else in the package.

    Raises
    ------
    ProgramError
        The package was built without them.
    """
    inside = Path(taafs_plugins.__file__).resolve().parent / "programs" / "stored"
    return inside if inside.is_dir() else shipped() / "results"


def reproduce_summary(arguments: list[str]) -> None:
    """Print every row as JSON or as the Markdown table of docs/results.md.

    Raises
    ------
    ProgramError
        Arguments that are not known, or a folder without results.
    """
    folder, rest = stored(), list(arguments)
    if "--results" in rest:
        at = rest.index("--results")
        if at + 1 == len(rest):
            raise ProgramError(f"--results needs a folder: {USAGE}.")
        folder = Path(rest[at + 1])
        del rest[at : at + 2]
    if set(rest) - {"--json", "--markdown"} or len(rest) > 1:
        raise ProgramError(f"{' '.join(arguments)} is not understood: {USAGE}.")
    rows = summary(folder)
    if not rows:
        raise ProgramError(f"{folder} holds no results of the studies; taafs reproduce lists them.")
    typer.echo(json.dumps([facts(row) for row in rows], indent=1) if rest == ["--json"] else markdown(rows), nl=rest == ["--json"])


def recipe(host: str, as_json: bool, console: Console) -> None:
    """Print a host's recipe with its evidence.

    Raises
    ------
    ProgramError
        Unknown host.
    """
    from taafs_plugins.activations.spec import nearest

    if host not in RECIPES:
        raise ProgramError(f"There is no recipe for '{host}'. {nearest(host.lower(), list(RECIPES))}There are: {', '.join(RECIPES)}.")
    found = RECIPES[host]
    rows = [row for row in summary(stored()) if found.evidence(row)]
    if as_json:
        named = {key: value for key, value in vars(found).items() if key != "evidence"}
        typer.echo(json.dumps({**named, "evidence": [facts(row) for row in rows]}, indent=1))
        return
    for line in text(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    typer.echo(
        f"\nTest errors over stock, each side at its best learning rate, with 90% intervals (docs/results.md):\n\n{markdown(rows)}",
        nl=False,
    )


def text(found: Recipe) -> list[str]:
    """The lines above the evidence."""
    return [
        f"{found.name}: {found.spec}",
        f"  write it       {found.where}",
        f"  its keys there share={found.share}, rate={found.rate:g}, scale={found.scale}",
        f"  learning rate  {found.learning_rate}",
        f"  use it to      {found.use}",
        f"  leave it       {found.leave}",
    ]
