"""CHGNet on many ranks: energies, forces, virial and magnetic moments are those of one rank, and of CHGNet's own Python."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chgnet"))

import chgnet_helpers  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import bulk  # noqa: E402
from chgnet.model import CHGNet  # noqa: E402
from export_checks import by_ghosts  # noqa: E402
from lmp_runs import END, error, header, last, run, worst, write_data  # noqa: E402
from test_errors import changed  # noqa: E402

import taafs_plugins as taafs  # noqa: E402
from taafs_plugins.adapters.chgnet.export import reference  # noqa: E402
from taafs_plugins.md.calculator import predict  # noqa: E402
from taafs_plugins.md.contract import read, read_metadata  # noqa: E402

VOIGT = ([0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2])  # LAMMPS: xx yy zz xy xz yz
MOMENTS = END.replace("c_e\ndump_modify", "c_e f_m\ndump_modify").replace("compute e", "fix m all pair 1 taafs magmom 1\ncompute e")
RUNS = {"owner": ("taafs owner", 1), "ghost": ("taafs ghost", 1), "two": ("taafs", 2), "four": ("taafs", 4)}


def crystal() -> Atoms:
    """Two atoms that see images of themselves, in a skewed cell far smaller than the cutoff."""
    return Atoms("NaCl", [[0.1, 0, 0], [1.7, 1.5, 1.2]], cell=[[3.4, 0, 0], [0.7, 3.1, 0], [-0.5, 0.4, 3.3]], pbc=True)


def wide() -> Atoms:
    """Rock salt, moved, so long that four ranks see atoms of one, two and three hops away and some not at all."""
    atoms = bulk("NaCl", "rocksalt", a=4.6, cubic=True) * (8, 1, 1)
    atoms.rattle(0.1, seed=1)
    atoms.wrap()
    return atoms


def cluster() -> Atoms:
    """Atoms in one corner of a large box: on four ranks, some have none. Far away a pair, without an angle on its rank."""
    atoms = Atoms("Na2Cl2NaCl", [[1, 1, 1], [3.2, 1, 1], [1, 3.3, 1.2], [3, 3, 1], [31, 31, 2], [33.3, 31, 2]], cell=[40, 40, 20], pbc=True)
    atoms.rattle(0.1, seed=2)
    return atoms


def bonds_only() -> Atoms:
    """No angle anywhere."""
    return Atoms("NaClNa", [[1, 1, 1], [3.4, 1, 1], [15, 15, 1]], cell=[20, 20, 8], pbc=True)


CASES = {"an atom sees its own image": crystal, "wide": wide, "ranks without atoms": cluster, "no angle": bonds_only}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(network, file) of a small CHGNet of three rounds with random weights and coefficients, in float64."""
    torch.manual_seed(0)
    sizes = dict.fromkeys(("atom_fea_dim", "bond_fea_dim", "angle_fea_dim", "atom_conv_hidden_dim", "bond_conv_hidden_dim"), 12)
    model = CHGNet(
        **sizes, num_radial=7, num_angular=5, n_conv=3, mlp_hidden_dims=(12,), atom_graph_cutoff=4.5, bond_graph_cutoff=2.9,
        mlp_out_bias=True, composition_model=None, is_intensive=False,
    ).double().eval()  # fmt: skip
    taafs.convert(model, "taafs:chebyshev1")
    chgnet_helpers.randomise(model, 0.1)
    path = tmp_path_factory.mktemp("small") / "model.pt"
    taafs.export(model, path, structures=[wide()], elements=["Na", "Cl"])
    return model, path


def all_in_lammps(folder: Path, model: Path, style: str, ranks: int) -> dict[str, dict]:
    """The numbers of every structure, in one process of LAMMPS."""
    text = ""
    for index, case in enumerate(CASES.values()):
        (folder / str(index)).mkdir(parents=True)
        write_data(folder / str(index) / "frame.data", case(), [11, 17])
        one = header(case(), [11, 17], model, style=style) + MOMENTS + "run 0\n"
        text += f"clear\nlog {index}/log.lammps\n" + one.replace("frame.data", f"{index}/frame.data").replace(
            "atoms.dump", f"{index}/atoms.dump"
        )
    run(folder, text, ranks)
    return {name: last(folder / str(index), columns="c_e f_m") for index, name in enumerate(CASES)}


def in_lammps(folder: Path, atoms: Atoms, model: Path, style: str, ranks: int, tail: str = "run 0\n", elements=(11, 17)) -> dict:
    folder.mkdir()
    write_data(folder / "frame.data", atoms, list(elements))
    run(folder, header(atoms, list(elements), model, style=style) + MOMENTS + tail, ranks)
    return last(folder, columns="c_e f_m")


@pytest.fixture(scope="module")
def everywhere(small, tmp_path_factory):
    """The numbers of every structure by every way to run."""
    return {name: all_in_lammps(tmp_path_factory.mktemp(name), small[1], *how) for name, how in RUNS.items()}


@pytest.mark.parametrize("case", CASES)
def test_any_number_of_ranks_is_as_one_and_as_chgnet(small, everywhere, case):
    model, atoms = small[0], CASES[case]()
    found = {name: results[case] for name, results in everywhere.items()}
    expected = reference(model, atoms)
    for name, ours in found.items():
        assert worst(ours, found["owner"]) < 1e-10, name
    ours = found["four"]
    assert abs(ours["energy"] - expected["energy"]) < 1e-9 * abs(expected["energy"])
    np.testing.assert_allclose(ours["f"], expected["forces"], atol=1e-8 * max(1e-2, np.abs(expected["forces"]).max()))
    virial = -expected["stress"][VOIGT] * atoms.get_volume()
    np.testing.assert_allclose(ours["virial"], virial, atol=2e-7 * np.abs(virial).max())  # LAMMPS's own constant is 8e-8 off
    np.testing.assert_allclose(ours["extra"][:, 0], expected["magmoms"], atol=1e-8 * np.abs(expected["magmoms"]).max())
    assert np.abs(ours["f"]).max() > 1e-3


def test_dynamics_where_atoms_change_ranks(tmp_path, small):
    tail = "velocity all create 2000 7 mom yes\ntimestep 0.001\nfix 1 all nve\nrun 40\n"
    one, two = (in_lammps(tmp_path / str(ranks), wide(), small[1], "taafs", ranks, tail) for ranks in (1, 2))
    assert np.abs(two["x"] - wide().positions).max() > 0.1
    assert worst(two, one) < 1e-9


def test_the_file_says_how_far_the_network_looks(tmp_path, small):
    facts = read_metadata(small[1])
    assert (facts.cutoff, facts.angle_cutoff, facts.hops, facts.modes, facts.format) == (4.5, 2.9, 3, ("owner", "ghost"), 2)
    in_lammps(tmp_path / "two", wide(), small[1], "taafs", 2)
    assert "communication cutoff 14.5 A (3 times the model's cutoff, and the skin)" in (tmp_path / "two" / "log.lammps").read_text()


def test_too_small_a_box_for_tiled_ghosts_is_one_line(tmp_path, small):
    write_data(tmp_path / "frame.data", wide(), [11, 17])
    script = header(wide(), [11, 17], small[1]).replace("read_data", "comm_style tiled\nread_data")
    assert "ghosts as far as 14.5 A" in error(tmp_path, script + "run 0\n", 2)
    enough = header(wide(), [11, 17], small[1]).replace("neighbor 1.0", "comm_modify cutoff 5.0\nneighbor 1.0")
    run(tmp_path, enough + "run 0\n", 2)  # a cutoff that is too small is raised


def test_an_older_file_runs_on_one_rank_and_names_the_way_out_on_two(tmp_path, small):
    """Files of format 1 allow mode owner only."""
    changed(small[1], tmp_path / "old.pt", modes=["owner"], format=1, angle_cutoff=None)
    atoms = crystal()
    now, old = (in_lammps(tmp_path / name, atoms, path, "taafs", 1) for name, path in (("now", small[1]), ("old", tmp_path / "old.pt")))
    assert worst(old, now) == 0
    write_data(tmp_path / "frame.data", atoms, [11, 17])
    line = error(tmp_path, header(atoms, [11, 17], "old.pt") + "run 0\n", 2)
    assert "runs on one rank, not on 2: it allows mode owner only; export it again by this version, or start one rank" in line


def test_ghosts_as_atoms_by_both_methods(small):
    """Every image out to hops x cutoff as an atom of its own, all of them computed: what images of a small cell give."""
    module, metadata = read(small[1])
    atoms = crystal()
    expected, found = predict(module, metadata, atoms), by_ghosts(small[1], atoms, np.random.default_rng(0))
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-9, atol=1e-10, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_pretrained_network_on_two_ranks(tmp_path, dtype):
    """A crystal of four atoms, trained activations: images are not computed again, so 24 Angstrom of ghosts cost as much as one rank."""
    model = chgnet_helpers.stock().to(getattr(torch, dtype)).eval()
    taafs.convert(model, "taafs:fourier")
    chgnet_helpers.randomise(model, 0.003)
    atoms = bulk("Fe", cubic=True, a=2.86) * (2, 1, 1)
    atoms.rattle(0.05, seed=3)
    atoms.wrap()
    done = taafs.export(model, tmp_path / "model.pt", structures=[atoms], elements=["Fe"])
    one, two = (in_lammps(tmp_path / str(n), atoms, tmp_path / "model.pt", "taafs", n, elements=[26]) for n in (1, 2))
    assert worst(two, one) < {"float64": 1e-10, "float32": 1e-5 + 4 * max(done.rounding.values(), default=0.0)}[dtype]
