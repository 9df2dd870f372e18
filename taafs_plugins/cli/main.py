"""The ``taafs`` command. Hosts' own commands (``dp``, ``spktrain``, ``lmp``) need no wrapper; this is for everything around them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from taafs_plugins.errors import how_to_install

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: more threads were far slower on small machines

try:
    import typer
    from rich.console import Console
except ModuleNotFoundError as error:
    sys.exit(f"The taafs command needs {error.name}, which is not installed; {how_to_install('cli')}.")

from taafs_plugins.cli.cache import app as cache_app  # noqa: E402
from taafs_plugins.cli.failures import Commands  # noqa: E402
from taafs_plugins.cli.lammps import app as lammps_app  # noqa: E402
from taafs_plugins.cli.outputs import check_number, check_output  # noqa: E402

console = Console()
app = typer.Typer(help="Trainable activations for DeePMD-kit, TorchANI, CHGNet and SchNetPack.", cls=Commands, no_args_is_help=True)
data_app = typer.Typer(help="Real DFT data: what there is, and getting it.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(lammps_app, name="lammps")
app.add_typer(cache_app, name="cache")
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]


def _version(wanted: bool) -> None:
    if wanted:
        import taafs_plugins

        typer.echo(f"taafs-plugins {taafs_plugins.__version__}")
        raise typer.Exit


@app.callback()
def main(version: Annotated[bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)] = False) -> None:
    """Trainable activations for DeePMD-kit, TorchANI, CHGNet and SchNetPack."""


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for models and pictures.")] = Path("demo_output"),
    minutes: Annotated[float, typer.Option(help="Training time of each of the two models.")] = 2.5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier demo in that folder.")] = False,
) -> None:
    """Train stock tanh and TAAFS in DeePMD-kit on real water, compare, and run LAMMPS with both."""
    check_number("--minutes", minutes, above=0)
    from taafs_plugins.cli.demo import demo as run

    run(output, minutes, console, overwrite)


@app.command()
def sites(model: Path) -> None:
    """Show where a model applies activations, and their coefficients: a file of DeePMD-kit, CHGNet, SchNetPack or TorchANI."""
    import taafs_plugins as taafs
    from taafs_plugins.md.export import read_model

    console.print(str(taafs.sites(read_model(model)[0])), soft_wrap=True, highlight=False, markup=False)


@app.command()
def convert(
    model: Annotated[Path, typer.Argument(help="A model file of DeePMD-kit (a checkpoint), CHGNet, SchNetPack or TorchANI.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
    spec: Annotated[str, typer.Option(help="For example taafs:chebyshev1; 'taafs families' and 'taafs bases' list what there is.")],
    site: Annotated[list[str] | None, typer.Option(help="Name, group or pattern of sites; repeatable. Default: the host's.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Put trainable activations into a stock model file; it predicts what it did, until it is trained on. Open only files you trust."""
    check_output(output, overwrite, model)
    import taafs_plugins as taafs
    from taafs_plugins.adapters import adapter_for
    from taafs_plugins.files import replacing
    from taafs_plugins.md.export import read_model

    live = read_model(model)[0]
    report = taafs.convert(live, spec, sites=site or None)
    with replacing(output) as written:
        note = adapter_for(live).write_model(live, written, model)
    console.print(f"{report}\nWrote {output}. {note}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def plot(
    models: Annotated[list[Path], typer.Argument(help="Model files: one, two to compare, or checkpoints of one run, oldest first.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="PNG, SVG or PDF; GIF animates checkpoints, HTML is to look around in.")
    ] = Path("curves.png"),
    span: Annotated[float, typer.Option(help="Draw from -span to span, in units of the scale.")] = 4.0,
    frames: Annotated[
        Path | None, typer.Option(help="Structures (a file that ASE reads, a DeePMD system): shows where inputs lie.")
    ] = None,
    curvature: Annotated[bool, typer.Option("--curvature", help="Draw second derivatives in place of the curves.")] = False,
    sketch: Annotated[bool, typer.Option("--sketch", help="Draw in the terminal, too.")] = False,
    training: Annotated[
        bool, typer.Option("--training", help="Given logs (lcurve.out, Lightning's metrics.csv, CHGNet's): errors against steps.")
    ] = False,
    parity: Annotated[bool, typer.Option("--parity", help="Draw predictions against the labels of --frames instead.")] = False,
    shift: Annotated[bool, typer.Option("--shift", help="With --parity: fit an energy for each element, for another DFT's zero.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw learned curves of model files next to the stock activations; or errors over a training; or predictions against labels."""
    check_output(output, overwrite, *models)
    check_number("--span", span, above=0)
    from taafs_plugins.cli import parity as labelled
    from taafs_plugins.cli.plot import PlotError
    from taafs_plugins.cli.plot import plot as run

    if training and parity:
        raise PlotError("--training and --parity draw different pictures; give one of them.")

    if training:
        labelled.training(models, output, console)
    elif parity:
        labelled.parity(models, frames, output, shift, console)
    else:
        run(models, output, span, frames, curvature, sketch, console)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A model file of CHGNet, SchNetPack (also of spkdeploy) or TorchANI.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
    structures: Annotated[Path | None, typer.Option(help="Structures to compare on, any format that ASE reads.")] = None,
    energy_unit: Annotated[str | None, typer.Option(help="eV, kcal/mol or hartree, where the model file does not say it.")] = None,
    elements: Annotated[str | None, typer.Option(help="H,C,O and so on, where the model file does not say it.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64; default: the model's own.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a model for LAMMPS (pair_style taafs), compared with its host first. Some hosts pickle models: open only files you trust."""
    from taafs_plugins.cli.export import export as run

    run(model, output, structures, energy_unit, elements, dtype, overwrite, console)


@app.command()
def pick(
    model: Annotated[Path, typer.Argument(help="A model file with activations of the family adact.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
    training: Annotated[Path | None, typer.Option("--input", help="DeePMD-kit: the input.json to train on with, and to compare.")] = None,
    steps: Annotated[int, typer.Option(help="How long to train on.", min=1)] = 1000,
    overwrite: Overwrite = False,
) -> None:
    """Replace every adact by its strongest member, a stock activation. Some hosts pickle models: open only files you trust."""
    from taafs_plugins.cli.pick import pick as run

    run(model, output, training, steps, overwrite, console)


@app.command()
def distil(
    model: Annotated[Path, typer.Argument(help="A model file of DeePMD-kit, CHGNet, SchNetPack or TorchANI.")],
    site: Annotated[list[str] | None, typer.Option(help="Sites by shell pattern, may be repeated; default: every learned curve.")] = None,
    module: Annotated[str | None, typer.Option(help="Instead: a part of the model with one input, such as an embedding net.")] = None,
    neuron: Annotated[int | None, typer.Option(help="Which neuron of share=neuron, which output of a part; from 0.", min=0)] = None,
    frames: Annotated[Path | None, typer.Option(help="Structures that show what inputs occur, any format that ASE reads.")] = None,
    low: Annotated[float | None, typer.Option(help="Smallest input; default: that of the frames, else -4 scales.")] = None,
    high: Annotated[float | None, typer.Option(help="Largest input; default: that of the frames, else 4 scales.")] = None,
    nodes: Annotated[int, typer.Option(help="Largest number of nodes of a formula.", min=1)] = 6,
    rounds: Annotated[int, typer.Option(help="Largest length of a search; 2 gives a quick look.", min=0)] = 60,
    seed: Annotated[int, typer.Option(help="Of the search.", min=0, max=2**32 - 1)] = 0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="JSON to write.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Learned curves as closed formulas, to be used by name in a config: formula:..."""
    from taafs_plugins.cli.distil import distil as run

    run(model, site, module, neuron, frames, low, high, nodes, rounds, seed, output, overwrite, console)


@app.command()
def choose(
    model: Annotated[Path, typer.Argument(help="A model file of DeePMD-kit or TorchANI.")],
    frames: Annotated[Path, typer.Argument(help="Structures with forces in eV/Angstrom, any format that ASE reads.")],
    library: Annotated[list[str] | None, typer.Option(help="Spec or name to choose from, may be repeated; default: stock ones.")] = None,
    site: Annotated[list[str] | None, typer.Option(help="Sites by shell pattern or group, may be repeated.")] = None,
    by: Annotated[str | None, typer.Option(help="One choice for each site, network or group; DeePMD-kit: group.")] = None,
    rate: Annotated[float, typer.Option(help="Length of the step, as a part of the spread of what is moved.")] = 0.3,
    threshold: Annotated[float, typer.Option(help="Replace where the distance falls by more than this part.")] = 0.1,
    most: Annotated[int, typer.Option(help="Frames to run, evenly chosen.", min=1)] = 20,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Model file to write, with the chosen activations.")] = None,
    table: Annotated[Path | None, typer.Option(help="JSON of all distances to write.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Judge stock activations at each site of a model by X-Net's rule, and put the best in its place (docs/xnet.md)."""
    from taafs_plugins.cli.choose import choose as run

    run(model, frames, library, site, by, rate, threshold, most, output, table, overwrite, console)


@app.command("md-check")
def md_check(
    model: Annotated[Path, typer.Argument(help="A model file of DeePMD-kit (also frozen, .pth), CHGNet, SchNetPack or TorchANI.")],
    frames: Annotated[Path | None, typer.Argument(help="Structures it was trained on, or like them: any format that ASE reads.")] = None,
    system: Annotated[Path | None, typer.Option(help="In place of a file: a DeePMD system's folder with npy files.")] = None,
    reference: Annotated[Path | None, typer.Option(help="A stock model of the same data: ratios to it at most 1.2.")] = None,
    atoms: Annotated[int, typer.Option(help="How many atoms are pushed by +-1.1 A.", min=1)] = 6,
    step: Annotated[float, typer.Option(help="Between points of a line, A.", min=0.002, max=0.05)] = 0.02,
    temperature: Annotated[float, typer.Option(help="Of the first run, K; the second is 1.5 times as hot.", min=1)] = 300.0,
    steps: Annotated[int, typer.Option(help="Of each run; 0: none.", min=0)] = 400,
    seed: Annotated[int, typer.Option(help="Of atoms, directions and velocities.")] = 0,
    energy_unit: Annotated[str | None, typer.Option(help="eV, kcal/mol or hartree, where the model file does not say it.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG, SVG or PDF to write: forces along lines, dimers, total energy.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Is a model smooth enough for MD? Pushed atoms, dimers, short NVE runs; one line says pass or fail, exit status 1 for fail."""
    from taafs_plugins.cli.md_check import md_check as run
    from taafs_plugins.md.check import Settings

    settings = Settings(atoms=atoms, step=step, temperature=temperature, steps=steps, seed=seed)
    raise typer.Exit(run(model, frames, system, reference, settings, energy_unit, picture, json, overwrite, console))


PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=PASSED_ON)
def bench(context: typer.Context) -> None:
    """Time TAAFS against stock activations on this machine (benchmarks/speed.py; its options are taken, --help lists them)."""
    from taafs_plugins.cli import programs

    raise typer.Exit(programs.run(programs.SPEED, context.args))


@app.command(context_settings=PASSED_ON)
def compare(context: typer.Context) -> None:
    """Compare TAAFS with other trained activations in one network: numbers, time, memory, smoothness (benchmarks/compare.py)."""
    from taafs_plugins.cli import programs

    raise typer.Exit(programs.run(programs.COMPARISON, context.args))


@app.command(context_settings=PASSED_ON)
def reproduce(context: typer.Context) -> None:
    """Repeat a study of docs/results.md; without a name: list them. Everything after the name goes to its program."""
    from taafs_plugins.cli import programs

    if not context.args or context.args[0] in ("--help", "-h"):
        for name, program in programs.STUDIES.items():
            what, commands = programs.describe(program)
            typer.echo(f"{name}: {what}\n" + "".join(f"    {line}\n" for line in commands.splitlines()))
        typer.echo("summary: Every ratio with its 90% interval, from the stored lines; --json or --markdown.\n")
        typer.echo("Run one: taafs reproduce NAME COMMAND. What is stored under results is not run again: move the file.")
        return
    name, *rest = context.args
    if name == "summary":
        from taafs_plugins.cli.summary import reproduce_summary

        reproduce_summary(rest)
        return
    raise typer.Exit(programs.run(programs.study(name), rest or (["--help"] if name != "deepmd-nve" else [])))


@app.command()
def recipe(
    host: Annotated[str, typer.Argument(help="deepmd, torchani, chgnet or schnetpack.")],
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """What to write into a host's config, when to use it and when not, with the measurements behind it."""
    from taafs_plugins.cli.summary import recipe as run

    run(host, json, console)


@app.command()
def doctor(json: Annotated[bool, typer.Option("--json", help="For bug reports and programs.")] = False) -> None:
    """Check the environment: engine, compiler, hosts, LAMMPS, GPU, caches, data. Exit status 1 when something is wrong."""
    from taafs_plugins.cli.doctor import checks, report

    raise typer.Exit(report(checks(), console, json))


@app.command()
def families() -> None:
    """The families of trainable activations: formula, numbers, smoothness."""
    from taafs_plugins.cli.listing import families as listed

    console.print(listed())


@app.command()
def bases() -> None:
    """The bases of family taafs: functions, numbers of a set, smoothness."""
    from taafs_plugins.cli.listing import bases as listed

    console.print(listed())


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

    typer.echo(data.fetch(path) if path in data.registry() else data.fetch_folder(path))
