"""Table and picture of the two trainings and of the dynamics that run.sh leaves behind."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import schnetpack as spk
import torch
from schnetpack.md.data import HDF5Loader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import taafs_plugins as taafs


def scalars(run):
    """Everything that SchNetPack logged in a run."""
    events = EventAccumulator(str(next(Path("runs", run, "tensorboard").rglob("events*")).parent))
    events.Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.8))
for run, label in (("stock", "SiLU"), ("taafs", "TAAFS")):
    logged = scalars(run)
    left.semilogy(logged["val_forces_mae"], label=label)
    print(
        f"{label:5s} test: energy MAE {logged['test_energy_mae'][-1]:.3f} kcal/mol, "
        f"forces MAE {logged['test_forces_mae'][-1]:.3f} kcal/mol/Angstrom"
    )
left.set(xlabel="epoch", ylabel="validation force MAE (kcal/mol/Å)")
left.legend()

model = spk.utils.load_model("runs/taafs/best_model")
z = torch.linspace(-4, 4, 400)
with torch.no_grad():
    for name, act in taafs.trainable_activations(model).items():
        block, number = name.split(".")[1:3]
        middle.plot(z, act(z), label=f"{'message' if block == 'interactions' else 'update'} {number}")
    middle.plot(z, torch.nn.functional.silu(z), "k--", label="SiLU")
middle.set(xlabel="z", ylabel="trained activation")
middle.legend(fontsize=7)

loaded = HDF5Loader("md/simulation.hdf5")
potential = loaded.get_potential_energy().ravel()
total = potential + loaded.get_kinetic_energy()
kcal = 1 / spk.units.convert_units("kcal/mol", spk.units.energy)
ps = np.arange(len(total)) * 0.5e-3
right.plot(ps, (potential - potential[0]) * kcal, label="potential")
right.plot(ps, (total - total[0]) * kcal, label="total")
right.set(xlabel="time (ps)", ylabel="energy change (kcal/mol)")
right.legend()
slope = np.polyfit(ps, total * spk.units.convert_units(spk.units.energy, "eV") / 9, 1)[0]
print(f"NVE: total energy drifts by {slope:.1e} eV/atom/ps over {ps[-1]:.2f} ps")

figure.tight_layout()
figure.savefig("ethanol.png", dpi=110)
