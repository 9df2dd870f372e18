"""Models that somebody else saved: every layout that the host itself can run is exported, anything else is refused in a sentence."""

import copy
import io
import os
import pickle
import sys
from pathlib import Path

os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")
for host in ("schnetpack", "torchani"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / host))

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import bulk  # noqa: E402
from schnetpack.utils import load_model  # noqa: E402
from schnetpack_helpers import potential  # noqa: E402
from torchani_small import small_model  # noqa: E402

import taafs_plugins as taafs  # noqa: E402
from taafs_plugins import data  # noqa: E402
from taafs_plugins.adapters import HostError  # noqa: E402
from taafs_plugins.adapters.schnetpack.export import reference  # noqa: E402
from taafs_plugins.errors import TaafsError  # noqa: E402
from taafs_plugins.md.calculator import ExportedCalculator  # noqa: E402
from taafs_plugins.md.export import read_model  # noqa: E402
from taafs_plugins.md.files import packages  # noqa: E402

OLDER = "atomistic-machine-learning/schnetpack/tests/testdata"
UNIT = {"energy_unit": "kcal/mol", "elements": ["H", "C", "O"]}
WATER = Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


def silicon() -> Atoms:
    atoms = bulk("Si")
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.mark.filterwarnings("ignore:Model was saved without version")
@pytest.mark.parametrize(
    ("name", "atoms", "unit"), [("md_ethanol.model", WATER, "kcal/mol"), ("si16.model", silicon(), "eV")], ids=["md_ethanol", "si16"]
)
def test_models_of_older_schnetpacks_are_exported(tmp_path, name, atoms, unit):
    path = data.fetch(f"{OLDER}/{name}")
    taafs.export(path, tmp_path / "model.pt", [atoms], unit, sorted(set(atoms.get_chemical_symbols())))
    expected = reference(load_model(str(path)).eval(), atoms)
    found = atoms.copy()
    found.calc = ExportedCalculator(tmp_path / "model.pt")
    scale = np.abs(expected["forces"]).max()
    factor = 1.0 if unit == "eV" else 1 / 23.06054783061903
    assert np.abs(found.get_forces() / factor - expected["forces"]).max() < 1e-4 * scale


def lists(model):
    for name in ("input_modules", "output_modules", "postprocessors"):
        modules = list(getattr(model, name))
        delattr(model, name)
        setattr(model, name, modules)


def a_tuple(model):
    modules = tuple(model.input_modules)
    del model.input_modules
    model.input_modules = modules


def no_embeddings(model):
    del model.representation.electronic_embeddings


def empty_list(model):
    del model.representation.electronic_embeddings
    model.representation.electronic_embeddings = []


def no_version(model):
    del model.spk_version


def old_version(model):
    model.spk_version = "2.0.4"
    no_embeddings(model)


@pytest.mark.filterwarnings("ignore:Model was saved without version")
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("change", [lists, a_tuple, no_embeddings, empty_list, no_version, old_version], ids=lambda change: change.__name__)
def test_other_layouts_of_schnetpack_are_exported_as_todays(tmp_path, change, legacy):
    """``legacy``: the file format of torch before 1.6."""
    model = potential().double().eval()
    taafs.convert(model, "taafs:bspline")
    expected = reference(model, WATER)
    other = copy.deepcopy(model)
    change(other)
    torch.save(other, tmp_path / "other", _use_new_zipfile_serialization=not legacy)
    taafs.export(tmp_path / "other", tmp_path / "model.pt", [WATER], **UNIT)
    atoms = WATER.copy()
    atoms.calc = ExportedCalculator(tmp_path / "model.pt")
    assert np.abs(atoms.get_forces() * 23.06054783061903 - expected["forces"]).max() < 1e-9 * np.abs(expected["forces"]).max()


def test_a_live_model_with_lists_is_left_as_it_is(tmp_path):
    model = potential().double().eval()
    lists(model)
    taafs.export(model, tmp_path / "model.pt", [WATER], **UNIT)
    assert all(isinstance(getattr(model, name), list) for name in ("input_modules", "output_modules", "postprocessors"))


def test_torchani_in_the_file_format_of_older_torches(tmp_path):
    model = small_model(dtype=torch.float64)
    torch.save(model, tmp_path / "other", _use_new_zipfile_serialization=False)
    assert "torchani" in packages(tmp_path / "other")
    assert taafs.export(tmp_path / "other", tmp_path / "model.pt", [WATER]).differences["energy"] < 1e-8


def test_chgnet_in_the_file_format_of_older_torches(tmp_path):
    from chgnet.model import CHGNet

    torch.manual_seed(0)
    model = CHGNet(atom_fea_dim=8, bond_fea_dim=8, angle_fea_dim=8, n_conv=2, mlp_hidden_dims=(8, 8))
    for number, content in enumerate((model, {"model": model.as_dict()}, {"model": model})):
        torch.save(content, tmp_path / f"{number}", _use_new_zipfile_serialization=False)
        assert type(read_model(tmp_path / f"{number}")[0]) is CHGNet


@pytest.mark.parametrize("host", ["schnetpack", "torchani"])
def test_a_model_that_its_host_cannot_run_is_refused_in_a_sentence(tmp_path, host):
    model = potential() if host == "schnetpack" else small_model()
    if host == "schnetpack":
        del model.representation.radial_basis
    else:
        del model.species_converter
    torch.save(model, tmp_path / "other")
    with pytest.raises(HostError, match=rf"{host} [\d.]+ cannot run this model \(AttributeError: .*load its weights into a model"):
        taafs.export(tmp_path / "other", tmp_path / "model.pt", [WATER], **({} if host == "torchani" else UNIT))
    assert not (tmp_path / "model.pt").exists()


class Gone:
    """A class that another version had."""


@pytest.mark.parametrize("module", ["schnetpack.model.base", "torchani.arch", "chgnet.model.model"])
def test_classes_that_are_no_more_are_named(tmp_path, module, monkeypatch):
    monkeypatch.setattr(Gone, "__module__", module)
    monkeypatch.setattr(sys.modules.get(module) or __import__(module, fromlist=["x"]), "Gone", Gone, raising=False)
    torch.save(Gone(), tmp_path / "other")
    monkeypatch.undo()
    with pytest.raises(TaafsError, match="Gone"):
        read_model(tmp_path / "other")


@pytest.mark.parametrize("content", [b"", b"\x80", b"PK\x03\x04", os.urandom(300), pickle.dumps([1, 2]), b"cnt\nsystem\n(S'x'\ntR."])
def test_files_of_nothing_are_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(TaafsError):
        read_model(tmp_path / "other")


def test_looking_for_classes_executes_nothing(tmp_path):
    """Nothing is unpickled to see whose a file is."""
    mark = tmp_path / "mark"

    class Payload:
        def __reduce__(self):
            return open, (str(mark), "w")

    for legacy in (False, True):
        torch.save(Payload(), tmp_path / "other", _use_new_zipfile_serialization=not legacy)
        packages(tmp_path / "other")
        with pytest.raises(TaafsError):
            read_model(tmp_path / "other")
    buffer = io.BytesIO()
    pickle.dump(Payload(), buffer)
    (tmp_path / "other").write_bytes(buffer.getvalue())
    packages(tmp_path / "other")
    assert not mark.exists()
