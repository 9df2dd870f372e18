"""Fine-tune pretrained CHGNet 0.3.0 on magnetic iron without changing it first, and see what it learnt and forgot.

    python examples/chgnet/finetune.py                     # only the 136 coefficients
    python examples/chgnet/finetune.py --train readout     # coefficients and the readout MLP
    python examples/chgnet/finetune.py --train all         # everything

Data (checksummed): 2-atom frames of magnetic Fe with energies, forces, stress and magmoms, from the folder TAAFS_DATA_MIRROR, and MPtrj
frames of other materials as data the network knew. The lines that differ from a stock CHGNet script are marked with "taafs".
"""

import sys
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import taafs_plugins as taafs  # taafs
from taafs_plugins import data
from taafs_plugins.adapters.chgnet.finetune import FineTuningReport, predict
from taafs_plugins.experiments.chgnet import SPEC, TRAINED, fine_tune, iron, known, pretrained

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

console = Console(soft_wrap=True)


def learning_curves(history: dict, path: Path) -> None:
    """Training and validation errors by epoch."""
    figure, axes = plt.subplots(1, 4, figsize=(14, 3), constrained_layout=True)
    names = {"e": "energy, eV/atom", "f": "force, eV/Å", "s": "stress, GPa", "m": "magmom, µB"}
    for axis, (key, name) in zip(axes, names.items(), strict=True):
        for part in ("train", "val"):
            axis.plot(range(1, len(history[key][part]) + 1), history[key][part], "o-", label=part)
        axis.set(title=name, xlabel="epoch", ylabel="mean absolute error")
    axes[0].legend()
    figure.savefig(path, dpi=110)


def parity(frames, before: list, after: list, path: Path) -> None:
    """DFT against the network, before and after, on test frames."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4), constrained_layout=True)
    for predictions, label in ((before, "pretrained"), (after, "fine-tuned")):
        axes[0].plot(frames.energies, [float(p["e"]) for p in predictions], ".", label=label)
        axes[1].plot(np.concatenate(frames.forces).ravel(), np.concatenate([p["f"] for p in predictions]).ravel(), ".", label=label)
    for axis, name in zip(axes, ("energy, eV/atom", "force component, eV/Å"), strict=True):
        low, high = min(axis.get_xlim()[0], axis.get_ylim()[0]), max(axis.get_xlim()[1], axis.get_ylim()[1])
        axis.plot([low, high], [low, high], color="grey", linewidth=0.8)
        axis.set(title=name, xlabel="DFT", ylabel="CHGNet")
    axes[0].legend()
    figure.savefig(path, dpi=110)


def main(
    train: Annotated[str, typer.Option(help=f"What is trained: {', '.join(TRAINED)}.")] = "coefficients",
    spec: str = SPEC,
    learning_rate: Annotated[float | None, typer.Option(help="Default: 3e-3 for the coefficients, 3e-4 with weights.")] = None,
    epochs: int = 10,
    frames: Annotated[int, typer.Option(help="Training frames, at most 800.")] = 120,
    seed: int = 1,
    out: Annotated[Path, typer.Option(help="Folder for the model, the coefficients and the pictures.")] = Path("chgnet_output"),
) -> None:
    """Convert, calibrate, train with CHGNet's Trainer, report, save, load, and run 20 fs of MD."""
    if train not in TRAINED:
        raise typer.BadParameter(f"--train takes {', '.join(TRAINED)}, not '{train}'.")
    out.mkdir(parents=True, exist_ok=True)
    taafs.enable("chgnet")  # taafs: CHGNet's saved files may hold specs from here on
    training, validation, test, shift = iron(frames, 20, 60, seed=seed)
    console.print(f"{frames} training frames; energy shift taken off: {', '.join(f'{el} {e:+.3f} eV/atom' for el, e in shift.items())}")

    model = pretrained()
    before = model.predict_structure(test.structures[0])
    console.print(str(taafs.convert(model, spec)))  # taafs
    if "scale=auto" in spec:
        with taafs.calibrate(model):  # taafs: the width of each site's inputs on your frames
            model.predict_structure(list(training.structures[:24]), task="e")
    after = model.predict_structure(test.structures[0])
    console.print(f"unchanged to the last bit by conversion: {all(np.array_equal(before[key], after[key]) for key in 'efsm')}")
    if TRAINED[train] is not None:
        taafs.freeze_all_but_coefficients(model, also=TRAINED[train])  # taafs
    numbers = sum(p.numel() for p in model.parameters() if p.requires_grad)

    report = FineTuningReport(model, new=test, known=known(20))
    lr = learning_rate or (3e-3 if train == "coefficients" else 3e-4)
    columns = (TextColumn(f"training {numbers} numbers"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=epochs * -(-frames // 8))
        trainer = fine_tune(model, training, validation, lr=lr, epochs=epochs, seed=seed, tick=lambda: bar.advance(task))
    console.print(str(report.after(model)))

    trainer.save(str(out / "model.pth.tar"))  # CHGNet's own file; CHGNet.from_file loads it
    if train == "coefficients":
        taafs.save_coefficients(model, out / "iron.safetensors")  # taafs: a few kB, only for this base network
    learning_curves(trainer.training_history, out / "learning_curves.png")
    parity(test, report.new_before, predict(model, test), out / "parity.png")

    from chgnet.model import CHGNet, MolecularDynamics
    from pymatgen.io.ase import AseAtomsAdaptor

    loaded = CHGNet.from_file(str(out / "model.pth.tar"))
    forces = [network.predict_structure(test.structures[0])["f"] for network in (model, loaded)]
    console.print(f"loaded model predicts the same forces to the last bit: {np.array_equal(*forces)}")
    atoms = AseAtomsAdaptor.get_atoms(test.structures[0])
    run = MolecularDynamics(atoms, model=loaded, ensemble="nve", temperature=300, timestep=1, use_device="cpu")
    run.run(20)
    console.print(f"20 fs of MD: {atoms.get_total_energy() / len(atoms):.4f} eV/atom; files in {out}/")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (taafs.SpecError, taafs.HostError, data.DataError) as error:  # a mistake in the options or missing data: one sentence
        sys.exit(str(error))
