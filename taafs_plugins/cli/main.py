"""The ``taafs`` command. Hosts' own commands (``dp``, ``spktrain``, ``lmp``) need no wrapper; this is for everything around them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: more threads were far slower on small machines

try:
    import typer
    from rich.console import Console
except ModuleNotFoundError as error:
    sys.exit(f"The taafs command needs {error.name}; install it with: pip install 'taafs-plugins[cli]'.")

from taafs_plugins.cli.lammps import app as lammps_app  # noqa: E402

console = Console()
app = typer.Typer(help="Trainable activations for DeePMD-kit, TorchANI, CHGNet and SchNetPack.", no_args_is_help=True, add_completion=False)
data_app = typer.Typer(help="Real DFT data: what there is, and getting it.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(lammps_app, name="lammps")


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for models and pictures; replaced.")] = Path("demo_output"),
    minutes: Annotated[float, typer.Option(help="Training time of each of the two models.")] = 2.5,
) -> None:
    """Train stock tanh and TAAFS in DeePMD-kit on real water, compare, and run LAMMPS with both."""
    from taafs_plugins.cli.demo import demo as run

    run(output, minutes, console)


@app.command()
def sites(model: Path) -> None:
    """Show where a model applies activations, and their coefficients: a file of DeePMD-kit, CHGNet, SchNetPack or TorchANI."""
    import taafs_plugins as taafs

    console.print(str(taafs.sites(_model(model))), soft_wrap=True, highlight=False)


@app.command()
def plot(model: Path, output: Annotated[Path, typer.Option("-o", help="PNG to write.")] = Path("curves.png"), span: float = 4.0) -> None:
    """Draw the learned curves of a model file next to the stock activations."""
    import taafs_plugins as taafs
    from taafs_plugins.plotting import curves

    acts = taafs.trainable_activations(_model(model))
    if not acts:
        _stop(f"{model} has no trainable activation.")
    curves(acts, output, span)
    console.print(f"Wrote {output}")


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A model file of CHGNet, SchNetPack (also of spkdeploy) or TorchANI.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
    structures: Annotated[Path | None, typer.Option(help="Structures to compare on, any format that ASE reads.")] = None,
    energy_unit: Annotated[str | None, typer.Option(help="eV, kcal/mol or hartree, where the model file does not say it.")] = None,
    elements: Annotated[str | None, typer.Option(help="H,C,O and so on, where the model file does not say it.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64; default: the model's own.")] = None,
) -> None:
    """Write a model for LAMMPS (pair_style taafs), compared with its host first. Some hosts pickle models: open only files you trust."""
    from taafs_plugins.cli.export import export as run

    run(model, output, structures, energy_unit, elements, dtype, console, _stop)


PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=PASSED_ON)
def bench(context: typer.Context) -> None:
    """Time TAAFS against stock activations on this machine (benchmarks/speed.py; its options are taken, --help lists them)."""
    from taafs_plugins.cli import programs

    try:
        raise typer.Exit(programs.run(programs.SPEED, context.args))
    except programs.ProgramError as error:
        _stop(str(error))


@app.command(context_settings=PASSED_ON)
def reproduce(context: typer.Context) -> None:
    """Repeat a study of docs/results.md; without a name: list them. Everything after the name goes to its program."""
    from taafs_plugins.cli import programs

    try:
        if not context.args or context.args[0] in ("--help", "-h"):
            for name, program in programs.STUDIES.items():
                what, commands = programs.describe(program)
                typer.echo(f"{name}: {what}\n" + "".join(f"    {line}\n" for line in commands.splitlines()))
            typer.echo("Run one: taafs reproduce NAME COMMAND. What is stored under benchmarks/results is not run again: move the file.")
            return
        name, *rest = context.args
        raise typer.Exit(programs.run(programs.study(name), rest or (["--help"] if name != "deepmd-nve" else [])))
    except programs.ProgramError as error:
        _stop(str(error))


@app.command()
def doctor() -> None:
    """Check the environment: hosts and versions, engines, LAMMPS, threads, data."""
    from taafs_plugins.cli.doctor import checks

    failed = False
    for name, good, text in checks():
        mark = {True: "[green]ok[/]", False: "[red]no[/]", None: "[yellow]--[/]"}[good]
        console.print(f"{mark}  {name}: {text}", highlight=False)
        failed |= good is False
    raise typer.Exit(int(failed))


@data_app.command("list")
def data_list() -> None:
    """Files that can be fetched."""
    from taafs_plugins.data import registry

    for path in registry():
        typer.echo(path)


@data_app.command("get")
def data_get(path: Annotated[str, typer.Argument(help="A file or folder of 'taafs data list'.")]) -> None:
    """Fetch a file or a folder, checked against its SHA-256, and print where it lies."""
    from taafs_plugins import data

    try:
        typer.echo(data.fetch(path) if path in data.registry() else data.fetch_folder(path))
    except data.DataError as error:
        _stop(str(error))


def _model(path: Path):
    from taafs_plugins.errors import TaafsError
    from taafs_plugins.md.export import read_model

    try:
        return read_model(path)[0]
    except TaafsError as error:
        _stop(str(error))


def _stop(message: str) -> None:
    typer.echo(message, err=True)
    sys.exit(1)
