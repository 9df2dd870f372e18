"""Trained activations in DeePMD-kit's other backends: the same numbers, there and back exactly, or one sentence."""

import contextlib
import copy
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from compress_models import DESCRIPTORS, make
from conftest_deepmd import frame, largest_difference, python_values

from taafs_plugins.activations import family_names, find_family, parse_spec
from taafs_plugins.activations.taafs.bases import basis_names
from taafs_plugins.adapters.deepmd import dpmodel


def numpy_energy(model: torch.nn.Module, system) -> np.ndarray:
    """Energies of the atoms by the NumPy backend, from what the live model says of itself."""
    from deepmd.dpmodel.model.base_model import BaseModel

    coord, box, types = frame(system)
    out = BaseModel.deserialize(copy.deepcopy(model.serialize()))(coord.reshape(1, -1, 3), types[None], box)
    return out["atom_energy"].ravel()


def atom_energy(model: torch.nn.Module, system) -> np.ndarray:
    coord, box, types = frame(system)
    out = model(torch.tensor(coord).reshape(1, -1, 3), torch.tensor(types)[None], torch.tensor(box))
    return out["atom_energy"].detach().numpy().ravel()


@pytest.mark.parametrize("share", ["layer", "neuron"])
@pytest.mark.parametrize("name", DESCRIPTORS)
def test_numpy_computes_what_pytorch_does_for_every_descriptor(name, share, small_water):
    model = make(name, f"taafs:fourier,share={share}")
    ours = numpy_energy(model, small_water[0])
    assert np.abs(ours - atom_energy(model, small_water[0])).max() < 1e-10
    assert np.abs(ours - atom_energy(make(name, "tanh"), small_water[0])).max() > 1e-3


@pytest.mark.parametrize("activation", [
    *(f"taafs:{basis}" for basis in basis_names()), "taafs:bspline,residual=scaled,share=neuron", "taafs:hermite,residual=none",
    "taafs:legendre,squash=softsign,scale=2", "taafs,base=gelu", "taafs,base=silut:3.0",
    *(find_family(f).example or f for f in family_names() if f != "taafs"),
])  # fmt: skip
def test_numpy_computes_every_basis_and_family(activation, small_water):
    model = make("se_e2_a", activation)
    assert np.abs(numpy_energy(model, small_water[0]) - atom_energy(model, small_water[0])).max() < 1e-10


def test_numpy_computes_in_float32_what_pytorch_does(small_water):
    model = make("se_e2_a", "taafs:bspline,share=neuron", 0.02, precision="float32")
    found, wanted = numpy_energy(model, small_water[0]), atom_energy(model, small_water[0])
    assert np.abs(found - wanted).max() < 3e-5 * np.abs(wanted).max()


def test_the_function_of_a_spec_keeps_shape_and_dtype_and_differentiates_tensors():
    fn = dpmodel.activation_function("taafs:chebyshev1,theta=0/0.1/0.2/0/0/0/0/0")
    x = np.random.default_rng(0).normal(size=(3, 1, 5))[:, :, ::2]
    for dtype in (np.float64, np.float32):
        assert fn(x.astype(dtype)).dtype == dtype and fn(x.astype(dtype)).shape == x.shape
    assert fn(x[:0]).shape == (0, 1, 3)
    z = torch.tensor(x, requires_grad=True)
    assert torch.autograd.gradcheck(fn, z) and np.abs(fn(z).detach().numpy() - fn(x)).max() < 1e-15
    with pytest.raises(SystemExit, match="not computed for arrays of builtins"):
        fn([0.1])


def main(*arguments) -> str | None:
    """A ``dp`` command in this process; the sentence it was refused with, or None."""
    from deepmd.main import main as command

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            command([str(argument) for argument in arguments])
        except SystemExit as end:
            return str(end.code)
    return None


@pytest.fixture(scope="module")
def pth(tmp_path_factory):
    """A frozen file with random coefficients, its values, and the folder it is in."""
    folder = tmp_path_factory.mktemp("backends")
    model = make("se_e2_a", "taafs:bspline,share=neuron")
    torch.jit.save(torch.jit.script(model), folder / "a.pth")
    return folder


def load(path: str) -> dict:
    """A file of the NumPy backend."""
    from deepmd.dpmodel.utils.serialization import load_dp_model

    return load_dp_model(path)


def same(a, b) -> bool:
    """Whether two descriptions of models are equal, arrays to the bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


@pytest.mark.parametrize("end", ["dp", "yaml"])
def test_there_and_back_is_exact(pth, end, small_water):
    assert main("convert-backend", pth / "a.pth", pth / f"b.{end}") is None
    assert main("convert-backend", pth / f"b.{end}", pth / f"c_{end}.pth") is None
    assert main("convert-backend", pth / f"c_{end}.pth", pth / f"d.{end}") is None
    first, again = load(str(pth / f"b.{end}")), load(str(pth / f"d.{end}"))
    assert same(first["model"], again["model"]) and "theta=" in str(first["model"]["descriptor"])
    values = [python_values(pth / name, small_water[0]) for name in ("a.pth", f"c_{end}.pth")]
    assert largest_difference(*values) < 1e-10
    forms = [part.scripts_folded for part in torch.jit.load(pth / f"c_{end}.pth").modules() if hasattr(part, "scripts_folded")]
    assert forms and all(forms)  # as fast for forces as what dp freeze writes


def test_the_numbers_in_the_file_are_the_live_models_to_the_bit(pth):
    assert main("convert-backend", pth / "a.pth", pth / "bits.dp") is None
    nets = load(str(pth / "bits.dp"))["model"]["descriptor"]["embeddings"]["networks"]
    names = [layer["activation_function"] for net in nets for layer in net["layers"]]
    model = make("se_e2_a", "taafs:bspline,share=neuron")
    live = [layer.activate.theta for net in model.atomic_model.descriptor.sea.filter_layers.networks for layer in net.layers]
    assert len(names) == len(live)
    for name, theta in zip(names, live, strict=True):
        assert np.array_equal(parse_spec(name)["theta"], theta.detach().numpy().ravel())


def test_a_process_without_pytorchs_backend_evaluates_the_file(pth, small_water):
    assert main("convert-backend", pth / "a.pth", pth / "alone.dp") is None
    program = (
        "import sys, json, numpy as np; from deepmd.infer import DeepPot\n"
        "coord, box, types = (np.load(path) for path in sys.argv[2:])\n"
        "print(json.dumps([DeepPot(sys.argv[1]).eval(coord, box, types)[0].item(), 'deepmd.pt' in sys.modules]))"
    )
    for name, array in zip(("coord", "box", "types"), frame(small_water[0]), strict=True):
        np.save(pth / f"{name}.npy", array)
    run = subprocess.run(
        [sys.executable, "-c", program, "alone.dp", "coord.npy", "box.npy", "types.npy"],
        cwd=pth,
        capture_output=True,
        text=True,
        check=True,
    )
    energy, pytorch = json.loads(run.stdout.splitlines()[-1])
    assert not pytorch and abs(energy - python_values(pth / "a.pth", small_water[0])["energy"][0]) < 1e-8


def test_a_backend_that_cannot_compute_it_gets_one_sentence_and_no_file(pth):
    from deepmd.backend.backend import Backend

    from taafs_plugins.adapters.deepmd import backends

    written = []
    write = backends._refusing(lambda model_file, data: written.append(model_file), "tf")
    data = Backend.get_backend("pt")().serialize_hook(str(pth / "a.pth"))
    with pytest.raises(SystemExit, match="'tf' with this ending cannot hold trained activations") as refused:
        write("b.pb", data)
    assert "\n" not in str(refused.value) and not written
    wrapped = {name for name, cls in Backend.get_backends().items() if cls.__module__.split(".")[-1] not in backends.COMPUTE}
    assert wrapped >= {"tf", "pd"} and backends.COMPUTE["jax"] == ".hlo"  # of JAX's other files: test_deepmd_jax.py


def test_a_compressed_model_is_not_converted_without_a_word(pth, small_water):
    model = make("se_e2_a", "taafs:bspline")
    model.enable_compression(5, 0.01, 0.1, -1)
    torch.jit.save(torch.jit.script(model), pth / "compressed.pth")
    refused = main("convert-backend", pth / "compressed.pth", pth / "compressed.dp")
    assert "is compressed" in refused and "\n" not in refused and not (pth / "compressed.dp").exists()


def test_a_file_that_calls_the_operator_is_converted_too(pth, small_water, monkeypatch):
    monkeypatch.setenv("TAAFS_EXPORT", "operator")
    torch.jit.save(torch.jit.script(make("se_e2_a", "taafs:bspline,share=neuron")), pth / "operator.pth")
    monkeypatch.delenv("TAAFS_EXPORT")
    assert main("convert-backend", pth / "operator.pth", pth / "operator.dp") is None
    assert main("convert-backend", pth / "a.pth", pth / "plain.dp") is None
    assert same(*(load(str(pth / name))["model"] for name in ("operator.dp", "plain.dp")))
