"""X-Net's choice of activations: the rule at the sites of hosts' models, the table, what is written and trained on."""

import importlib
import json
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from typer.testing import CliRunner

import taafs_plugins as taafs
from taafs_plugins.choose import ChoiceError, choose, replace
from taafs_plugins.cli import app
from taafs_plugins.md.export import read_model
from taafs_plugins.testing.helpers import randomise

sys.path.insert(0, str(Path(__file__).parent / "torchani"))
import torchani_small as small  # noqa: E402

sys.path.pop(0)
HARTREE = 27.211386024367243


def run(*arguments):
    return CliRunner().invoke(app, ["choose", *map(str, arguments)])


def loss_of(molecules):
    species, positions = small.batch(molecules)
    labels = torch.tensor([energy for _, _, energy, _ in molecules], dtype=torch.float64)

    def loss(model):
        x = positions.clone().requires_grad_()
        energies = model((species, x)).energies
        (slope,) = torch.autograd.grad(energies.sum(), x, create_graph=True)
        return slope.square().mean() + (energies - labels).square().mean()

    return loss


@pytest.fixture(scope="module")
def molecules():
    return [small.with_all_elements()]


@pytest.fixture(scope="module")
def labelled(molecules, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("frames") / "molecules.xyz"
    frames = []
    for numbers, x, energy, forces in molecules:
        atoms = Atoms(numbers, x)
        atoms.calc = SinglePointCalculator(atoms, energy=energy * HARTREE, forces=forces * HARTREE)
        frames.append(atoms)
    write(path, frames)
    return path


def test_an_activation_that_the_site_has_already_is_as_near_as_the_present_one_and_the_model_stays_as_it_was(molecules):
    model = small.small_model("gelu")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = choose(model, loss_of(molecules), {"gelu": "gelu", "same": "formula:0.5*z*(1+erf(z/2^0.5))", "cube": "cube"})
    assert len(found) == 12 and sum(choice.best == "cube" for choice in found) < 6 and {choice.present for choice in found} == {"gelu"}
    for choice in found:
        assert choice.distances["gelu"] == choice.distances["same"] == pytest.approx(choice.distance, rel=1e-9)
        assert choice.best == min(choice.distances, key=choice.distances.get) and abs(choice.gain) < 0.5
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert not taafs.trainable_activations(model) and not replace(model, found, threshold=0.5)


def test_a_curve_that_a_formula_is_nearer_to_is_replaced_and_the_model_is_that_with_this_spec_at_these_sites(molecules):
    """The sites have a curve far from what the next layers want: random coefficients; the curve itself as a candidate wins."""
    model = small.small_model("celu")
    taafs.convert(model, "taafs:chebyshev1")
    randomise(model, 0.5)
    found = choose(model, loss_of(molecules), ["identity", "sin", "molu"], by="group", sites="H")
    (choice,) = found
    assert len(choice.sites) == 3 and set(choice.distances) == {"identity", "sin", "molu"} and choice.present.startswith("taafs:")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert replace(model, found, threshold=-10.0) == found
    acts = [site.current for site in taafs.sites(model) if site.name in choice.sites]
    assert all(str(act.spec).startswith(choice.spec.split(",")[0]) for act in acts)
    values = small.energies_forces(model, molecules)
    assert all(np.isfinite(part.numpy()).all() for part in values)


def test_the_updated_output_is_that_of_the_loss(molecules):
    """One site alone: inputs and outputs move against the gradient that differences of the loss say, by the rate."""
    from taafs_plugins.choose import _moved, _probe

    probe, sites = _probe(small.small_model("gelu"), ["*O.layers.2"])
    loss = loss_of(molecules)
    moved = _moved(probe, sites, loss, 0.25, np.random.default_rng(0))[sites[0].name]
    seen = []
    handle = sites[0].current.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].detach(), output.detach())))
    loss(probe)
    handle.remove()
    (_, y), size = seen[0], seen[0][1].numel()
    shift = torch.as_tensor(moved.outputs) - y.flatten()
    assert float(shift.square().mean().sqrt()) == pytest.approx(0.25 * float(y.std(correction=0)), rel=1e-9)

    def shifted(k, step):
        handle = sites[0].current.register_forward_hook(
            lambda module, inputs, output: output + step * torch.eye(size, dtype=output.dtype)[k].reshape(output.shape)
        )
        value = float(loss(probe).detach())
        handle.remove()
        return value

    slopes = torch.tensor([(shifted(k, 1e-5) - shifted(k, -1e-5)) / 2e-5 for k in range(size)])
    torch.testing.assert_close(-shift / shift.norm(), (slopes / slopes.norm()).double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("change", "words"), [
    ({"library": []}, "library is empty"), ({"by": "atom"}, "by='atom' is not known"), ({"rate": 0.0}, "rate=0.0 must"),
    ({"loss": lambda model: torch.tensor(1.0)}, "does not reach"),
    ({"loss": lambda model: torch.tensor(float("nan"))}, "one finite number"),
    ({"sites": "nothing"}, "nothing"), ({"library": ["tahn"]}, "Unknown family 'tahn'"),
])  # fmt: skip
def test_mistakes_in_python_are_one_sentence(change, words, molecules):
    arguments = {"loss": loss_of(molecules), **change}
    with pytest.raises((ChoiceError, taafs.SpecError), match=words):
        choose(small.small_model("celu"), arguments.pop("loss"), **arguments)


def test_torchani_by_command_the_written_model_has_what_the_table_says(labelled, molecules, tmp_path):
    source, out, table = tmp_path / "model.pt", tmp_path / "chosen.pt", tmp_path / "table.json"
    torch.save(small.small_model("celu"), source)
    done = run(source, labelled, "-o", out, "--table", table, "--library", "sin", "--library", "identity", "--threshold", 0, "--rate", 3)
    assert done.exit_code == 0, done.output
    choices = json.loads(table.read_text())
    used = [choice for choice in choices if choice["gain"] > 0]
    assert len(choices) == 12 and used, done.output
    sites = {site.name: site for site in taafs.sites(read_model(out)[0])}
    for choice in choices:
        (name,) = choice["sites"]
        assert sites[name].converted == (choice in used)
    again = run(source, labelled, "-o", out)
    assert again.exit_code == 1 and "exists already" in again.output
    kept = run(source, labelled, "-o", tmp_path / "none.pt", "--threshold", 0.999)
    assert kept.exit_code == 0 and "nothing is replaced" in kept.output and not (tmp_path / "none.pt").exists()


def test_mistakes_by_command_are_one_sentence(labelled, molecules, tmp_path):
    source, bare = tmp_path / "model.pt", tmp_path / "bare.xyz"
    torch.save(small.small_model("celu"), source)
    write(bare, Atoms(molecules[0][0], molecules[0][1]))
    chgnet = Path(__file__).parents[1] / "tests" / "data" / "v0_1" / "chgnet" / "whole.pt"
    for arguments, words in (((source, bare), "has no forces"), ((source, "none.xyz"), "no file none.xyz"),
                             ((source, labelled, "--threshold", -1), "must be at least 0"), ((chgnet, labelled), "in Python:"),
                             ((source, labelled, "--by", "atom"), "by='atom'"),
                             ((source, labelled, "--library", "tahn"), "tahn")):  # fmt: skip
        done = run(*arguments)
        assert done.exit_code == 1 and words in done.output.replace("\n", " ") and "Traceback" not in done.output, done.output


def test_the_way_out_for_the_other_hosts_is_a_function_that_exists():
    with pytest.raises(taafs.HostError) as refused:
        taafs.adapter("chgnet").forces(None, None)
    module, _, name = re.search(r"(taafs_plugins[\w.]*)\(", str(refused.value))[1].rpartition(".")
    assert getattr(importlib.import_module(module), name) is choose
