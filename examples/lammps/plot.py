"""Lattice constant, magnetic moment and energy conservation of the two runs: a line each, and iron.png."""

import re

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), constrained_layout=True)
for name, label in (("stock", "CHGNet 0.3.0"), ("iron", "with coefficients fitted to iron")):
    log = open(f"{name}.log").read()
    lattice = float(re.search(r"^lattice constant ([\d.]+)", log, re.M)[1])
    atoms = int(re.search(r"Created (\d+) atoms", log)[1])
    table = log.split("c_moment")[-1].split("Loop time")[0].splitlines()
    step, temperature, energy, moment = np.array([line.split() for line in table if re.match(r"\s*\d+\s", line)], float).T
    energy = 1e3 * (energy - energy[0]) / atoms
    print(
        f"{label}: lattice constant {lattice:.4f} A, magnetic moment {moment.mean():.3f} muB, {temperature.mean():.0f} K, "
        f"total energy moved by {energy[-1]:+.4f} meV/atom in {step[-1] / 1000:g} ps"
    )
    axes[0].plot(step / 1000, energy, label=label)
    axes[1].plot(step / 1000, moment)
axes[0].set(xlabel="time, ps", ylabel="total energy - start, meV/atom")
axes[1].set(xlabel="time, ps", ylabel="mean magnetic moment, µB")
axes[0].legend(fontsize=8)
figure.savefig("iron.png", dpi=110)
