"""``taafs md-check``: a planted spike fails, stock activations pass, in DeePMD-kit and TorchANI; its parts against closed formulas."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.io import write
from typer.testing import CliRunner

import taafs_plugins as taafs
from taafs_plugins import testing
from taafs_plugins.cli import app
from taafs_plugins.errors import TaafsError
from taafs_plugins.experiments import deepmd as deepmd_runs
from taafs_plugins.md.check import HostPotential, Settings, check, curves, dynamics, lines
from taafs_plugins.md.files import read_model

sys.path.insert(0, str(Path(__file__).parent / "torchani"))

import torchani_small as small  # noqa: E402

START = Path(__file__).parents[1] / "benchmarks" / "results" / "water_tanh.pt"
SHORT = ("--atoms", "2", "--step", "0.04", "--steps", "20", "--temperature", "50")
# 64 bells across the squash's range, one of them tall: what one wild number does to a trained curve
SPIKE = "taafs:grbf,grid=64,share=layer,rate=1"


def spiked(model, group, size):
    """Give every activation of a group of sites one tall narrow bell where inputs are."""
    taafs.convert(model, SPIKE, sites=group)
    with torch.no_grad():
        for act in taafs.trainable_activations(model).values():
            act.delta[..., 36] = size
    return model


class Morse:
    """O-H: a potential of two atoms by its closed formula, with a part that is planted."""

    periodic_only, precision = False, "float64"
    depth, a, r0 = 4.8, 2.2, 0.97

    def __init__(self, planted=lambda r: (0.0, 0.0)):
        self.planted = planted

    def __call__(self, atoms):
        vector = atoms.positions[1] - atoms.positions[0]
        r = np.linalg.norm(vector)
        x = np.exp(-self.a * (r - self.r0))
        more, more_force = self.planted(r)
        force = 2 * self.depth * self.a * (x * x - x) + more_force
        return self.depth * (x * x - 2 * x) + more, np.outer([-1, 1], force * vector / r)


WATER = Atoms("OH2", [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
OH = Atoms("OH", [[0, 0, 0], [0.97, 0, 0]])
LINE = lines.Line("OH", OH, 1, np.array([1.0, 0, 0]), 0.02 * np.arange(-10, 41))


def test_third_derivative_extrema_and_length_are_those_of_the_formula():
    curve = curves.follow(Morse(), LINE)
    x = np.exp(-Morse.a * LINE.at)[2:-2]
    exact = 2 * Morse.depth * Morse.a**3 * (4 * x * x - x)
    assert np.abs(curves.bend(curve) - exact).max() < 2e-4 * np.abs(exact).max()
    assert curves.extrema(curve) == 1 and curves.minima(curve) == 1 and curves.narrowest(curve, 0.1) == np.inf
    assert LINE.at[curves.turning_points(curve.force, 0.1)] == pytest.approx([np.log(2) / Morse.a], abs=0.02)
    found = curves.jumps(Morse(), curve)
    assert found.force == 0 and found.curvature == 0 and found.slope < 1e-6


@pytest.mark.parametrize("size", [0.01, 0.1, 30.0])
def test_a_jump_of_the_second_derivative_is_found_and_measured_whatever_its_size(size):
    potential = Morse(lambda r: (0.5 * size * max(r - 1.313, 0) ** 2, -size * max(r - 1.313, 0)))
    found = curves.jumps(potential, curves.follow(potential, LINE))
    assert 0.49 * size <= found.curvature <= 1.01 * size and found.force == 0 and found.slope < 1e-6 + 3e-5 * size


def test_a_jump_of_the_force_and_forces_that_are_not_the_slope_are_found():
    steps = Morse(lambda r: (0.01 * max(r - 1.313, 0), -0.01 * (r > 1.313)))
    assert 0.005 <= curves.jumps(steps, curves.follow(steps, LINE)).force <= 0.011
    for planted in (lambda r: (1e-4 * (r > 1.313), 0.0), lambda r: (0.0, 0.01)):
        wrong = Morse(planted)
        assert curves.jumps(wrong, curves.follow(wrong, LINE)).slope > 5e-3


def test_the_corrected_energy_of_verlet_is_conserved_to_the_fourth_order():
    found = {}
    for divided in (1, 2):
        atoms = Atoms("OH", [[0, 0, 0], [1.0, 0, 0]])
        dynamics.HYDROGEN_STEP, kept = 0.25 / divided, dynamics.HYDROGEN_STEP
        try:
            found[divided] = dynamics.run(Morse(), atoms, {}, temperature=300, steps=100 * divided, seed=1)
        finally:
            dynamics.HYDROGEN_STEP = kept
    plain = [np.ptp(one.total) for one in found.values()]
    exact = [np.ptp(one.conserved) for one in found.values()]
    assert plain[0] / plain[1] == pytest.approx(4, rel=0.1) and exact[0] / exact[1] == pytest.approx(16, rel=0.2)
    assert exact[0] < 0.05 * plain[0] and not found[1].broken


def test_a_run_that_is_too_hot_or_too_near_or_pushed_too_hard_is_broken():
    hole = Morse(lambda r: (-2000 * (1.2 - r) ** 2, -4000 * (1.2 - r)) if r < 1.2 else (0.0, 0.0))
    run = dynamics.run(hole, OH, {(1, 8): 0.97}, temperature=300, steps=200)
    assert "limit" in run.broken and len(run.time) < 200


def test_atoms_are_pushed_no_nearer_than_the_data_allow_and_the_same_ones_for_the_same_seed():
    atoms = Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    shortest = lines.shortest_pairs([atoms])
    assert shortest[1, 8] == pytest.approx(0.96, abs=0.01) and (8, 8) not in shortest
    first, again = lines.pushes([atoms], 6, seed=3), lines.pushes([atoms], 6, seed=3)
    assert {line.index for line in first} >= {0} and len(first) == 6
    for line, other in zip(first, again, strict=True):
        assert np.array_equal(line.at, other.at) and np.array_equal(line.direction, other.direction)
        places = atoms.positions[line.index] + line.at[:, None] * line.direction
        assert lines.nearest(atoms, line.index, places, shortest).min() >= lines.NEAREST
    assert [line.label for line in lines.dimers([atoms], False)] == ["H-H", "H-O"]


def test_a_reference_gives_ratios_and_without_one_a_spike_fails():
    spike = Morse(lambda r: (0.02 * np.exp(-(((r - 1.3) / 0.03) ** 2)), 0.02 * 2 * (r - 1.3) / 9e-4 * np.exp(-(((r - 1.3) / 0.03) ** 2))))
    settings = Settings(atoms=1, dimers=1, steps=20)
    assert check(Morse(), [OH], settings=settings).passed
    alone, beside = check(spike, [OH], settings=settings), check(spike, [OH], reference=Morse(), settings=settings)
    assert not alone.passed and "the force has a spike" in str(alone)
    assert any(failure.startswith("third derivative") and "of the reference (limit 1.2 times)" in failure for failure in beside.failures)
    assert check(Morse(), [OH], reference=Morse(), settings=settings).passed


@pytest.fixture(scope="module")
def water(tmp_path_factory):
    """A file with one molecule."""
    path = tmp_path_factory.mktemp("water") / "molecule.xyz"
    write(path, WATER)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["md-check", *map(str, arguments)])


def test_deepmd_tanh_passes_and_a_planted_spike_fails_by_command(water, tmp_path):
    done = run(START, water, *SHORT, "--picture", tmp_path / "seen.png")
    assert done.exit_code == 0 and done.output.splitlines()[-1].startswith("pass"), done.output
    assert (tmp_path / "seen.png").stat().st_size > 10_000
    model = spiked(read_model(START)[0], "embedding", 0.5)
    taafs.adapters.adapter_for(model).write_model(model, tmp_path / "spiked.pt", START)
    done = run(tmp_path / "spiked.pt", water, *SHORT, "--json")
    assert done.exit_code == 1, done.output
    facts = json.loads(done.stdout)
    assert any("the force has a spike" in failure for failure in facts["failures"])
    assert facts["model"]["extrema of the force, most"] > 5 and facts["reference"] is None


def test_torchani_stock_passes_and_a_planted_spike_fails():
    settings = Settings(atoms=2, dimers=1, steps=20, step=0.03, temperature=50)
    model = small.small_model("gelu")
    with torch.no_grad():
        for net in model.potentials["nnp"].neural_networks.atomics.values() if hasattr(model, "potentials") else ():
            net.final_layer.weight *= 0.1  # weights by chance make forces that heat a cold molecule
    report = check(HostPotential(model), [WATER], settings=settings)
    assert report.passed, str(report)
    spiked(model, None, 3.0)
    report = check(HostPotential(model), [WATER], settings=settings)
    assert not report.passed and "spike" in str(report)


def test_a_model_in_float32_is_run_in_float64_with_its_own_weights():
    model = testing.randomise(small.small_model("gelu", dtype=torch.float32))
    potential = HostPotential(model)
    expected = taafs.adapters.adapter_for(model).reference(model, WATER)
    energy, forces = potential(WATER)
    assert potential.precision == "float64" and next(model.parameters()).dtype == torch.float32
    assert energy == pytest.approx(units.Hartree * expected["energy"], abs=1e-3) and 0 < np.abs(forces).max()
    assert np.abs(forces - units.Hartree * expected["forces"]).max() < 1e-3


@pytest.mark.parametrize("frozen", ["layer_folded.pth", "layer_operator.pth"])
def test_a_frozen_deepmd_model_is_what_its_checkpoint_is(frozen):
    folder = Path(__file__).parents[1] / "tests" / "data" / "v0_1" / "deepmd"
    alloy = Atoms("CuAuCu", [[0, 0, 0], [2.5, 0, 0.3], [0.4, 2.4, 0]])
    (energy, forces), (other, others) = (HostPotential.open(folder / name)(alloy) for name in ("layer.pt", frozen))
    assert energy == pytest.approx(other, abs=1e-9) and np.abs(forces - others).max() < 1e-9 and np.abs(forces).max() > 1e-3


def test_a_deepmd_model_in_float32_is_built_again_in_float64():
    import deepmd.pt  # noqa: F401 - loads the plugin
    from deepmd.pt.model.model import get_model

    section = deepmd_runs.model_section("taafs:chebyshev1", ["O", "H"], sel=[8, 16], rcut=4.0, seed=1, precision="float32")
    model = testing.randomise(get_model(section))
    potential = HostPotential(model)
    expected = taafs.adapters.adapter_for(model).reference(model, WATER)
    energy, forces = potential(WATER)
    assert potential.precision == "float64" and {p.dtype for p in potential.model.parameters()} == {torch.float64}
    assert abs(energy - expected["energy"]) < 1e-4 and 0 < np.abs(forces - expected["forces"]).max() < 1e-4


def test_mistakes_are_sentences(water, tmp_path):
    atom = tmp_path / "atom.xyz"
    write(atom, Atoms("O"))
    for arguments, words in (
        ((START,), "Give structures like"), ((START, "none.xyz"), "no file none.xyz"), (("none.pt", water), "no file none.pt"),
        ((START, atom), "no atom to push"), ((START, water, "--picture", "seen.txt"), "does not end like a picture"),
        ((water, water), "is no model file"),
    ):  # fmt: skip
        done = run(*arguments)
        said = (done.output + done.stderr).replace("\n", " ")
        assert done.exit_code == 1 and words in said and isinstance(done.exception, SystemExit), said
    with pytest.raises(TaafsError, match="no atom to push"):
        check(Morse(), [])
