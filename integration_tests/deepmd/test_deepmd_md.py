"""LAMMPS NVE of water with trained models: energy is conserved as well as with tanh (the paper's Fig. 8: Fourier went wrong)."""

from pathlib import Path

import numpy as np
import pytest
from conftest_deepmd import RCUT, SEL, frame

from taafs_plugins import plotting
from taafs_plugins.experiments import deepmd, lammps

ACTIVATIONS = ["tanh", "taafs:bspline", "taafs:fourier", "taafs:chebyshev1", "taafs:hermite"]
STEPS, MD_STEPS, TIMESTEP = 500, 5000, 0.00025


@pytest.fixture(scope="module")
def energies(water, tmp_path_factory) -> dict[str, np.ndarray]:
    """Total energy against time of 5,000 steps for each activation, from one start and the same velocities."""
    folder = tmp_path_factory.mktemp("md")
    systems = [str((water / f"data_{i}").resolve()) for i in range(3)]
    coord, box, types = frame(water / "data_3")
    result = {}
    for activation in ACTIVATIONS:
        run = folder / activation.replace(":", "-")
        model = deepmd.model_section(activation, ["O", "H"], sel=SEL, rcut=RCUT)
        model["descriptor"].update(neuron=[8, 16], axis_neuron=4)
        model["fitting_net"]["neuron"] = [24, 24]
        deepmd.train(deepmd.training_input(model, systems, steps=STEPS, learning_rate=5e-3), run)
        frozen = deepmd.freeze(run)
        lammps.write_data(run / "frame.data", coord.reshape(-1, 3), box.reshape(3, 3), types, ["O", "H"])
        result[activation], _ = lammps.nve(str(frozen), run, ["O", "H"], steps=MD_STEPS, timestep=TIMESTEP)
    plotting.energies(result, Path(folder) / "nve.png", "NVE of 64 water molecules")
    assert (folder / "nve.png").stat().st_size > 10000
    return result


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("activation", ACTIVATIONS[1:])
def test_energy_is_conserved_as_well_as_with_tanh(activation, energies):
    assert len(energies[activation]) == MD_STEPS // 10 + 1 and np.isfinite(energies[activation]).all()
    drifts = {name: lammps.drift(energy) for name, energy in energies.items()}
    print({name: f"{value:+.2e}" for name, value in drifts.items()})
    assert lammps.drift_passes(drifts[activation], drifts["tanh"])
