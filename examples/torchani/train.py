"""Train a TorchANI model with trainable activations on energies and forces of different HCNO molecules, then run MD.

    python examples/torchani/train.py                                # TAAFS, one curve set per layer
    python examples/torchani/train.py --activation celu              # stock, same seed and batches

TorchANI's usual loop; the lines that differ from a stock script are marked with "taafs". Data: kernelforge (kcal/mol), downloaded
once and checksummed. TorchANI's units: Hartree, Angstrom.
"""

import sys
from pathlib import Path
from typing import Annotated

import ase.units
import numpy as np
import torch
import typer
from ase import Atoms
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from torchani.arch import simple_ani

import taafs_plugins as taafs  # taafs
from taafs_plugins import data

SYMBOLS = ("H", "C", "N", "O")
NUMBERS = np.array([1, 6, 7, 8])
KCAL = 627.5094738898777


def read(part: str, limit: int) -> list[tuple[np.ndarray, np.ndarray, float, np.ndarray]]:
    """Atomic numbers, positions, energy, forces of the first molecules."""
    raw = np.load(data.fetch(f"andersx/kernelforge/examples/small_mols_mini_{part}.npz"), allow_pickle=True)
    columns = (raw[key][:limit] for key in ("nuclear_charges", "coords", "energies", "forces"))
    return [(np.array(z, int), np.array(x, float), float(e) / KCAL, np.array(f, float) / KCAL) for z, x, e, f in zip(*columns, strict=True)]


def fit_self_energies(molecules: list) -> np.ndarray:
    """Energy of each element by least squares, on the training molecules only."""
    counts = (np.array([[(m[0] == z).sum() for z in NUMBERS] for m in molecules])).astype(float)
    return np.linalg.lstsq(counts, np.array([m[2] for m in molecules]), rcond=None)[0]


def collate(molecules: list, self_energies: np.ndarray) -> tuple[torch.Tensor, ...]:
    """Padded species (-1), positions, energies less self-energies, forces, number of atoms."""
    n, atoms = len(molecules), max(len(m[0]) for m in molecules)
    species = torch.full((n, atoms), -1)
    positions, forces = torch.zeros(n, atoms, 3), torch.zeros(n, atoms, 3)
    energies = torch.tensor([m[2] - sum(self_energies[NUMBERS == z][0] for z in m[0]) for m in molecules]).float()
    for i, (z, x, _, f) in enumerate(molecules):
        species[i, : len(z)], positions[i, : len(z)], forces[i, : len(z)] = map(torch.as_tensor, (z, x, f))
    return species, positions, energies, forces, (species >= 0).sum(1)


def errors(model, batches: list) -> tuple[float, float]:
    """RMSE of the energy (kcal/mol per atom) and of the force components (kcal/mol/Angstrom)."""
    energy, force = [], []
    for species, positions, energies, forces, atoms in batches:
        x = positions.clone().requires_grad_(True)
        predicted = model((species, x)).energies
        slope = torch.autograd.grad(predicted.sum(), x)[0]
        energy.append((predicted.detach() - energies) / atoms)
        force.append((-slope - forces)[species >= 0])
    return tuple(KCAL * float(torch.cat([e.flatten() for e in part]).square().mean().sqrt()) for part in (energy, force))


def main(
    activation: Annotated[str, typer.Option(help="celu, gelu or a spec.")] = "taafs:bspline,base=celu",
    epochs: int = 40,
    molecules: Annotated[int, typer.Option(help="Training molecules, at most 1000.")] = 300,
    learning_rate: float = 2e-3,
    seed: int = 1,
    out: Annotated[Path, typer.Option(help="Folder for the model and the picture.")] = Path("torchani_output"),
) -> None:
    """Train, test, save, load, script, and run 0.2 ps of MD."""
    taafs.enable("torchani")  # taafs: TorchANI's builders take specs from here on
    training, test = read("train", molecules), read("test", 200)
    self_energies = fit_self_energies(training)

    def build():
        torch.manual_seed(seed)
        model = simple_ani(
            SYMBOLS, "wb97x-631gd", radial_shifts=8, angular_shifts=4, container_ctor="like_1x", activation=activation, bias=True,
            repulsion=False, self_energies=dict(zip(SYMBOLS, self_energies.tolist(), strict=True)),
        )  # fmt: skip
        model.set_enabled("energy_shifter", False)  # energies less self-energies while training: float32 keeps their digits
        return model

    model = build()
    print(f"{activation}: {taafs.count_parameters(model)} parameters, {len(taafs.trainable_activations(model))} trainable activations")
    groups = taafs.parameter_groups(model, lr=learning_rate) if taafs.trainable_activations(model) else model.parameters()  # taafs
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    generator = torch.Generator().manual_seed(seed)
    test_batches = [collate(test[i : i + 50], self_energies) for i in range(0, len(test), 50)]
    for epoch in range(1, epochs + 1):
        for index in torch.randperm(len(training), generator=generator).split(10):
            species, positions, energies, forces, atoms = collate([training[i] for i in index], self_energies)
            positions.requires_grad_(True)
            predicted = model((species, positions)).energies
            (slope,) = torch.autograd.grad(predicted.sum(), positions, create_graph=True)
            energy_loss = ((predicted - energies) ** 2 / atoms.sqrt()).mean()
            force_loss = (((slope + forces) ** 2).sum((1, 2)) / (3 * atoms)).mean()
            optimizer.zero_grad()
            (energy_loss + 10 * force_loss).backward()
            optimizer.step()
        schedule.step()
        if epoch % 10 == 0:
            print("epoch {:3d}  test energy {:.3f} kcal/mol per atom, forces {:.2f} kcal/mol/A".format(epoch, *errors(model, test_batches)))

    out.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), out / "model.pt")
    loaded = build()
    loaded.load_state_dict(torch.load(out / "model.pt", weights_only=True))
    for m in (model, loaded):
        m.set_enabled("energy_shifter", True)
    loaded.double()
    torch.jit.script(loaded).save(str(out / "scripted.pt"))

    numbers, positions, energy, _ = test[0]
    atoms = Atoms(numbers, positions, calculator=loaded.ase(jit=True))
    print(f"loaded and scripted: {atoms.get_potential_energy() / ase.units.Hartree:.6f} Hartree, DFT {energy:.6f}")
    MaxwellBoltzmannDistribution(atoms, temperature_K=100, rng=np.random.default_rng(seed))
    start = atoms.get_total_energy()
    VelocityVerlet(atoms, 0.5 * ase.units.fs).run(400)
    print(f"0.2 ps of MD: total energy moved by {1000 * (atoms.get_total_energy() - start) / len(atoms):.3f} meV per atom")
    if taafs.trainable_activations(model):
        draw(model, out / "curves.png")


def draw(model, path: Path) -> None:
    """What training added to the stock activation: each element's curves, one per layer."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    z = torch.linspace(-2, 2, 401)
    figure, axes = plt.subplots(1, 4, figsize=(12, 3), sharey=True, layout="constrained")
    for axis, symbol in zip(axes, SYMBOLS, strict=True):
        for i, act in enumerate(act for name, act in taafs.trainable_activations(model).items() if f".{symbol}.layers." in name):
            axis.plot(z, (act(z) - act.base(z)).detach(), label=f"layer {i}")
        axis.axhline(0, color="black", linewidth=0.5)
        axis.set(title=symbol, xlabel="input of the activation")
    axes[0].set_ylabel("trained less stock")
    axes[0].legend()
    figure.savefig(path, dpi=100)
    print(f"curves: {path}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (taafs.SpecError, taafs.HostError, data.DataError) as error:  # a mistake in the options or missing data: one sentence
        sys.exit(str(error))
