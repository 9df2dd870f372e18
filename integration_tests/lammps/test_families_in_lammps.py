"""From a word in each host's own config to LAMMPS, every family with random numbers: energy, forces and virial are those of Python.

One LAMMPS process a host runs all families, one structure and step each. Two ranks run two of them: what ranks do (which atoms each has,
whose forces go where) does not depend on the activation.
"""

import copy
import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")
sys.path[:0] = [str(Path(__file__).resolve().parents[1] / host) for host in ("schnetpack", "torchani", "chgnet")]

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import schnetpack_helpers  # noqa: E402
import torch  # noqa: E402
import torchani_small  # noqa: E402
from ase import Atoms  # noqa: E402
from lmp_runs import END, header, last, run, write_data  # noqa: E402

import taafs_plugins as taafs  # noqa: E402
from taafs_plugins.adapters import adapter  # noqa: E402
from taafs_plugins.experiments.deepmd import model_section  # noqa: E402
from taafs_plugins.experiments.lammps import run_script  # noqa: E402
from taafs_plugins.md.calculator import ENERGY  # noqa: E402
from taafs_plugins.testing import randomise  # noqa: E402

# numbers of one set, and whether a set is one neuron's
FAMILIES = {
    "leaf": (4, True), "ahaf": (2, True), "adact": (8, True), "adact:paper": (8, True), "swish": (1, False), "pelu": (2, False),
    "prelu": (1, True), "melu": (4, True), "melu,k=6": (6, True), "molu": (0, False), "molu:trained": (2, False), "elish": (0, False),
    "hardelish": (0, False),
}  # fmt: skip
ON_TWO_RANKS = ["leaf", "adact"]
VOIGT = ([0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2])  # LAMMPS: xx yy zz xy xz yz


def molecules() -> Atoms:
    """Two ethanols in a tight cell."""
    atoms = schnetpack_helpers.ethanol(1)[0]
    atoms.center(vacuum=1.3)
    atoms.pbc = True
    return atoms * (2, 1, 1)


def oxide() -> Atoms:
    positions = [[0.1, 0, 0.2], [2.0, 2.1, 0.1], [2.2, 0.1, 2.0], [0.2, 2.0, 2.1]]
    return Atoms("LiOLiO", positions, cell=[4.1, 4.2, 4.3], pbc=True)


def schnetpack_model(activation: str | None):
    keys = {} if activation is None else {"activation": activation}
    return schnetpack_helpers.potential(features=6, interactions=2, rbf=4, stress=True, **keys).double().eval()


def torchani_model(activation: str | None):
    return torchani_small.small_model(activation or "gelu", dims=(6, 5, 4)).eval()


def chgnet_model(activation: str | None):
    from chgnet.model import CHGNet

    torch.manual_seed(0)
    sizes = dict.fromkeys(("atom_fea_dim", "bond_fea_dim", "angle_fea_dim", "atom_conv_hidden_dim", "bond_conv_hidden_dim"), 6)
    keys = {} if activation is None else {"non_linearity": activation}
    return CHGNet(**sizes, num_radial=5, num_angular=5, n_conv=2, mlp_hidden_dims=(6, 6), verbose=False, **keys).double().eval()


def deepmd_model(activation: str | None):
    import deepmd.pt  # noqa: F401 - teaches DeePMD the specs
    from deepmd.pt.model.model import get_model

    section = model_section(activation or "tanh", ["H", "C", "O"], sel=[24, 12, 6], rcut=3.5)
    section["descriptor"].update(neuron=[4, 8], axis_neuron=3, type_one_side=True)  # three nets, not nine
    section["fitting_net"]["neuron"] = [8, 8]
    return get_model(section).eval()


class Exported:
    """A host whose models ``taafs export`` writes for ``pair_style taafs``."""

    def __init__(self, host: str, build, atoms, **keys) -> None:
        self.host, self.build, self.atoms, self.keys = host, build, atoms, keys

    def write(self, model, path: Path) -> str:
        taafs.export(model, path, structures=[self.atoms()], **self.keys)
        return "taafs"

    def values(self, model) -> dict[str, np.ndarray]:
        atoms = self.atoms()
        unit = ENERGY[self.keys.get("energy_unit", {"torchani": "hartree"}.get(self.host, "eV"))]
        found = adapter(self.host).reference(model, atoms)
        parts = {"energy": found["energy"], "f": found["forces"], "virial": -atoms.get_volume() * found["stress"][VOIGT]}
        return {key: unit * np.asarray(value) for key, value in parts.items()}

    def run(self, folder: Path, text: str, ranks: int = 1) -> None:
        run(folder, text, ranks)


class Frozen(Exported):
    """DeePMD-kit's own models, scripted and saved as ``dp --pt freeze`` does it, for ``pair_style deepmd``."""

    def write(self, model, path: Path) -> str:
        torch.jit.save(torch.jit.script(model), path.with_suffix(".pth"))
        return "deepmd"

    def values(self, model) -> dict[str, np.ndarray]:
        atoms = self.atoms()
        types = torch.tensor([["H", "C", "O"].index(symbol) for symbol in atoms.symbols])[None]
        out = model(torch.tensor(atoms.positions)[None].requires_grad_(), types, torch.tensor(atoms.cell.array).reshape(1, 9))
        energy, force, virial = (out[key].detach().numpy() for key in ("energy", "force", "virial"))
        return {"energy": energy.item(), "f": force[0], "virial": virial.reshape(3, 3)[VOIGT]}

    def run(self, folder: Path, text: str, ranks: int = 1) -> None:
        run_script(folder, text, ranks)  # finds the plugin as the wheel's script does


CASES = {
    "deepmd": Frozen("deepmd", deepmd_model, molecules),
    "torchani": Exported("torchani", torchani_model, molecules),
    "schnetpack": Exported("schnetpack", schnetpack_model, molecules, energy_unit="kcal/mol", elements=["H", "C", "O"]),
    "chgnet": Exported("chgnet", chgnet_model, oxide, elements=["Li", "O"]),
}


def quietly(what, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of starts and kinks
        return what(*arguments)


def check_counts(model, spec: str) -> None:
    """To the digit: numbers per set, one set for each neuron or layer."""
    each, per_neuron = FAMILIES[spec]
    acts = taafs.trainable_activations(model).values()
    own = {id(act): act for act in acts}.values()
    assert len(own) > 0 and all((act.width is not None) == per_neuron for act in own)
    tensors = {id(p): p for act in own for p in act.coefficients().values()}.values()
    assert sum(p.numel() for p in tensors) == each * sum(act.width or 1 for act in own), spec


def script(case: Exported, folder: Path, styles: dict[str, str]) -> str:
    """Every written model in turn; each has a folder for its log and its atoms."""
    atoms = case.atoms()
    elements, text = sorted(set(atoms.numbers.tolist())), ""
    write_data(folder / "frame.data", atoms, elements)
    for name, style in styles.items():
        (folder / name).mkdir(exist_ok=True)
        one = header(atoms, elements, f"{name}.pt") if style == "taafs" else header(
            atoms, elements, pair=f"pair_style deepmd {name}.pth\npair_coeff * * H C O"
        )  # fmt: skip
        text += f"clear\nlog {name}/log.lammps\n{one}{END.replace('atoms.dump', f'{name}/atoms.dump')}run 0\n"
    return text


@pytest.fixture
def registered(request):
    """The host takes specs in its config, and afterwards does so or not as before."""
    host = adapter(request.param)
    was = bool(host.patches)
    host.register()
    yield CASES[request.param]
    (host.register if was else host.unregister)()


@pytest.mark.slow
@pytest.mark.parametrize("registered", CASES, indirect=True)
def test_every_family_gives_in_lammps_what_it_gives_in_python(registered, tmp_path):
    case, expected, styles = registered, {}, {}
    for spec in FAMILIES:
        model = randomise(quietly(case.build, spec), 0.2)
        check_counts(model, spec)
        name = spec.replace(":", "_").replace(",", "_")
        expected[name] = case.values(model)
        styles[name] = quietly(case.write, copy.deepcopy(model), tmp_path / f"{name}.pt")
    stock = case.values(case.build(None))
    case.run(tmp_path, script(case, tmp_path, styles))
    for name, values in expected.items():
        found = last(tmp_path / name)
        for key, value in values.items():
            largest = np.abs(value).max()
            assert np.abs(found[key] - value).max() <= 1e-8 * max(largest, 1e-3), (name, key)
            assert np.abs(value - stock[key]).max() > 1e-4 * largest, (name, key)
    if case.host == "chgnet":  # its ranks: test_chgnet_ranks.py
        return
    one = {name: last(tmp_path / name) for name in ON_TWO_RANKS}
    case.run(tmp_path, script(case, tmp_path, {name: styles[name] for name in ON_TWO_RANKS}), ranks=2)
    for name, values in one.items():
        for key in ("energy", "f", "virial"):
            largest = np.abs(values[key]).max()
            np.testing.assert_allclose(last(tmp_path / name)[key], values[key], rtol=0, atol=1e-10 * largest, err_msg=name)
