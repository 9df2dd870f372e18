"""``taafs cache``: the built libraries that are kept."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="Built libraries that are kept: list them, clear them.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """Show what is kept, whether this environment uses it, and its size."""
    from taafs_plugins.activations import family_names
    from taafs_plugins.native.cache import kept

    family_names()  # imports the families: their kernels are used here
    entries = list(kept())
    for entry in entries:
        used = "used here" if entry.used else "of another environment"
        typer.echo(f"{entry.folder}: {entry.kind}, {entry.state}, {used}, {entry.size / 1e6:.1f} MB")
    if not entries:
        typer.echo("Nothing is kept.")


@app.command()
def clear(
    others: Annotated[bool, typer.Option("--others", help="Only what this environment does not use.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Only the record of failed builds, so that they are tried again.")] = False,
) -> None:
    """Delete what is kept; it is built again when it is used next."""
    from taafs_plugins.activations import family_names
    from taafs_plugins.native.cache import clear as delete
    from taafs_plugins.native.cache import forget_failures, kept

    family_names()  # imports the families: their kernels are used here
    if failed:
        typer.echo(f"Failed builds forgotten: {forget_failures()}.")
        return
    chosen = [entry for entry in kept() if not (others and entry.used)]
    busy = [entry for entry in chosen if not delete(entry)]
    for entry in busy:
        typer.echo(f"{entry.folder} stays: another process builds there.", err=True)
    typer.echo(f"Deleted: {len(chosen) - len(busy)}.")
