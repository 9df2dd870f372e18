"""Every family in every host, with random numbers: live = saved and reloaded = scripted, and different from stock."""

import copy
import io
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import taafs_plugins as taafs

HERE = Path(__file__).parent
SPECS = ["leaf", "ahaf,share=network", "adact", "adact:paper,share=layer", "swish", "pelu", "prelu", "melu", "molu:trained", "elish",
         "hardelish", "formula:0.6*sin(1.5*z)*exp(-z^2/4)+0.4*z,low=-5,high=5"]  # fmt: skip
COUNTS = {"leaf": 4, "ahaf": 2, "adact": 8, "swish": 1, "pelu": 2, "prelu": 1, "melu": 4, "molu": 2}


def helpers(host: str, name: str):
    sys.path.insert(0, str(HERE / host))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(HERE / host))


def converted(model, spec):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of starts and kinks
        taafs.convert(model, spec)
    return model


def randomise(model, size=0.3):
    generator = torch.Generator().manual_seed(1)
    for act in taafs.trainable_activations(model).values():
        with torch.no_grad():
            act.delta.copy_(size * torch.randn(act.delta.shape, generator=generator, dtype=torch.float64))
    return model


def check_counts(model, spec):
    acts = taafs.trainable_activations(model)
    each = COUNTS.get(spec.split(",")[0].split(":")[0], 0)
    trained = {id(p): p.numel() for act in acts.values() for p in act.coefficients().values()}
    units = {id(act.delta): act.width or 1 for act in acts.values()}
    assert acts and sum(trained.values()) == each * sum(units.values())


def check(build, values, spec, tmp_path, tolerance=0.0):
    """Energies and forces of a converted model are those of its coefficient file and its state dict, and not those of stock."""
    model = randomise(converted(build(), spec))
    check_counts(model, spec)
    live, stock = values(model), values(build())
    assert all(np.isfinite(part).all() for part in live) and all(np.abs(a - b).max() > 1e-6 for a, b in zip(live, stock, strict=True))
    again = [converted(build(), spec)]
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    again[0].load_state_dict(torch.load(buffer, weights_only=True))
    taafs.save_coefficients(model, tmp_path / "coefficients.safetensors")
    again.append(build())
    taafs.load_coefficients(again[1], tmp_path / "coefficients.safetensors")
    for other in (*again, copy.deepcopy(model)):
        for a, b in zip(live, values(other), strict=True):
            assert np.abs(a - b).max() <= tolerance
    return model, live


@pytest.mark.parametrize("spec", SPECS)
def test_torchani(spec, tmp_path):
    small = helpers("torchani", "torchani_small")
    molecules = [small.with_all_elements()]
    values = lambda model: [part.numpy() for part in small.energies_forces(model, molecules)]
    model, live = check(small.small_model, values, spec, tmp_path)
    scripted = values(torch.jit.script(model))
    assert all(np.abs(a - b).max() < 1e-10 * (1 + np.abs(a).max()) for a, b in zip(live, scripted, strict=True))


@pytest.mark.parametrize("spec", SPECS)
def test_schnetpack(spec, tmp_path):
    small = helpers("schnetpack", "schnetpack_helpers")
    inputs = small.AtomsConverter(neighbor_list=small.MatScipyNeighborList(cutoff=small.CUTOFF))(small.ethanol(1))
    build = lambda: small.potential().eval()

    def values(model):
        out = model(dict(inputs))
        return [out[key].detach().numpy() for key in ("energy", "forces")]

    check(build, values, spec, tmp_path, tolerance=1e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_chgnet(spec, tmp_path):
    from chgnet.model import CHGNet
    from pymatgen.core import Lattice, Structure

    structure = Structure(Lattice.cubic(4.2), ["Li", "O"], [[0, 0, 0], [0.45, 0.5, 0.52]])

    def build():
        torch.manual_seed(0)
        return CHGNet(num_radial=9, num_angular=9, mlp_hidden_dims=(16, 16), verbose=False).eval()

    def values(model):
        found = model.predict_structure(structure)
        return [np.asarray(found[key]) for key in "efs"]

    check(build, values, spec, tmp_path, tolerance=1e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_deepmd_by_config_serialised_and_scripted(spec):
    import deepmd.pt  # noqa: F401 - teaches DeePMD the specs
    from deepmd.pt.model.model import get_model
    from deepmd.pt.model.model.ener_model import EnergyModel

    from taafs_plugins.experiments import deepmd as runs

    generator = torch.Generator().manual_seed(0)
    coord = 6 * torch.rand(1, 12, 3, generator=generator, dtype=torch.float64)
    atype, box = torch.tensor([[0, 1] * 6]), 8 * torch.eye(3, dtype=torch.float64).reshape(1, 9)

    def build(activation):
        torch.manual_seed(0)
        section = runs.model_section(activation, ["O", "H"], sel=[12, 12])
        section["descriptor"].update(rcut=4.0, rcut_smth=1.0)
        return get_model(section)

    def values(model):
        out = model(coord.clone().requires_grad_(), atype, box=box)
        return [out[key].detach().numpy() for key in ("energy", "force", "virial")]

    model = randomise(build(spec))
    check_counts(model, spec)
    live, stock = values(model), values(build("tanh"))
    assert all(np.abs(a - b).max() > 1e-8 for a, b in zip(live, stock, strict=True))
    for other in (EnergyModel.deserialize(model.serialize()), torch.jit.script(model.eval())):
        assert all(np.abs(a - b).max() < 1e-9 * (1 + np.abs(a).max()) for a, b in zip(live, values(other), strict=True))


def test_a_start_that_is_not_the_stock_one_and_a_kink_are_said():
    small = helpers("torchani", "torchani_small")
    with pytest.warns(UserWarning, match="does not start at the stock activation"):
        taafs.convert(small.small_model(), "molu")
    with pytest.warns(UserWarning, match="adact:paper is C0: its slope jumps.*adact:smooth"):
        taafs.convert(small.small_model(), "adact:paper")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        taafs.convert(small.small_model("gelu"), "taafs:chebyshev1")
    assert "analytic" in str(taafs.sites(converted(small.small_model(), "leaf")))
