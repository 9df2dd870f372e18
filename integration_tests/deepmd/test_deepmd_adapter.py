"""The adapter itself: undo, unknown versions, changed code, other backends, and a DeePMD built from patched source."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest_deepmd import checkpoint, load_state, model_of, water_input

import taafs_plugins as taafs
from taafs_plugins.adapters.deepmd import input as deepmd_input
from taafs_plugins.experiments.deepmd import command, environment

PATCH = Path(__file__).parents[2] / "patches" / "deepmd" / "deepmd-kit-3.2.0.patch"


def python(code: str, **env) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**environment(), **env})


def test_an_untested_version_is_one_sentence_and_stock_deepmd_goes_on():
    code = """
import importlib.metadata as m
real = m.version
m.version = lambda name: "3.9.9" if name == "deepmd-kit" else real(name)
import deepmd.pt
from deepmd.pt.utils.utils import ActivationFn
assert not hasattr(ActivationFn.__init__, "__wrapped__")
import deepmd.backend
from deepmd.utils import compat
from taafs_plugins.adapters.deepmd.input import InputError
net = {"type": "se_e2_a", "activation_function": "tanh"}
compat.update_deepmd_input({"model": {"descriptor": net, "fitting_net": {}}, "training": {}})
try:
    compat.update_deepmd_input({"model": {"descriptor": {**net, "activation_function": "taafs"}, "fitting_net": {}}, "training": {}})
except InputError as error:
    assert "not 3.9.9" in str(error)
else:
    raise AssertionError("a spec passed under an unknown version")
"""
    result = python(code)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "tested with deepmd-kit 3.2.0, not 3.9.9: nothing was changed" in result.stderr


@pytest.mark.parametrize("backend", ["tf", "jax", "pd", "dpmodel"])
def test_other_backends_refuse_a_spec(backend):
    config = water_input("taafs", [])
    with pytest.raises(deepmd_input.InputError, match="PyTorch backends only"):
        deepmd_input.check(config, backend)
    deepmd_input.check(water_input("tanh", []), backend)


def test_the_backend_is_that_of_the_calling_module():
    from deepmd.utils import compat

    deepmd_input.install()  # as every dp command does
    caller = {"__name__": "deepmd.tf.entrypoints.train", "compat": compat, "config": water_input("taafs", [])}
    with pytest.raises(deepmd_input.InputError, match="not with 'tf'"):
        exec("compat.update_deepmd_input(config)", caller)


def test_dp_train_without_pt_is_one_sentence(tmp_path):
    for name, words in (("taafs", "works with the PyTorch backends only"), ("tanh", None)):
        (tmp_path / "input.json").write_text(json.dumps(water_input(name, ["no/such/data"])))
        result = subprocess.run([command("dp"), "train", "input.json"], capture_output=True, text=True, env=environment(), cwd=tmp_path)
        assert result.returncode == 1 and ("taafs-plugins" in result.stderr) == (words is not None)
        if words:
            assert words in result.stderr and "run: dp --pt train" in result.stderr and "Traceback" not in result.stderr
        assert os.listdir(tmp_path) == ["input.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["model"].update(type="dpa4"), "model of type 'dpa4'"),
        (lambda c: c.update(model={"type": "linear_ener", "models": [{**c["model"], "type": "frozen"}]}), "model of type 'frozen'"),
        (lambda c: c["model"]["descriptor"].update(type="dpa4"), "'dpa4' was not tested"),
        (lambda c: c["model"]["fitting_net"].update(type="population"), "'population' was not tested"),
    ],
)
def test_what_is_not_supported_refuses_a_spec(change, words):
    config = water_input("taafs", [])
    change(config)
    with pytest.raises(deepmd_input.InputError, match=words):
        deepmd_input.check(config, "pt")
    stock = water_input("tanh", [])
    change(stock)
    deepmd_input.check(stock, "pt")


def test_neuron_is_refused_where_one_activation_has_several_widths(small_water):
    import copy

    from test_deepmd_zoo import DESCRIPTORS

    config = water_input("taafs", small_water)
    config["model"]["descriptor"] = copy.deepcopy(DESCRIPTORS["dpa3"])
    config["model"]["descriptor"]["activation_function"] = "taafs:bspline,share=neuron,base=silu"
    with pytest.raises(taafs.SpecError, match="share=neuron cannot be used at"):
        model_of(config)


def test_multi_task_branches_have_their_own_coefficients(small_water):
    models = [model_of(water_input("taafs", small_water)) for _ in range(2)]
    ids = [{id(act.delta) for act in taafs.trainable_activations(model).values()} for model in models]
    assert not ids[0] & ids[1]
    shared = model_of(water_input("taafs:bspline,share=network", small_water))
    by_net = {}
    for site in taafs.sites(shared):
        by_net.setdefault(site.network, set()).add(id(site.current.delta))
    assert all(len(members) == 1 for members in by_net.values()) and len({i for m in by_net.values() for i in m}) == len(by_net) == 4


def test_the_patch_is_small():
    """At most one line of context on each side of a change."""
    run = 0
    for line in PATCH.read_text().splitlines():
        run = run + 1 if line.startswith(" ") else 0
        assert run <= 1, line


@pytest.mark.long
@pytest.mark.slow
def test_patched_source_needs_no_run_time_patching(small_water, tmp_path):
    """A copy of the installed package with patches/deepmd applied: the model tests pass, and nothing is wrapped."""
    files = [line[6:].strip() for line in PATCH.read_text().splitlines() if line.startswith("+++ b/")]
    installed = Path(str(importlib.metadata.distribution("deepmd-kit").locate_file("deepmd")))
    copy = tmp_path / "deepmd"
    shutil.copytree(installed, copy, copy_function=os.symlink, ignore=shutil.ignore_patterns("__pycache__"))
    for name in files:
        target = tmp_path / name
        if target.is_symlink():
            source = target.resolve()
            target.unlink()
            shutil.copy(source, target)
    subprocess.run(["patch", "-p1", "-i", str(PATCH)], cwd=tmp_path, check=True, capture_output=True)
    code = """
import deepmd.pt
from deepmd.utils import activation_plugins, argcheck
from deepmd.pt.model.network.mlp import MLPLayer
from deepmd.pt.model.atomic_model.dp_atomic_model import DPAtomicModel
from taafs_plugins.adapters import adapter
assert activation_plugins.__file__.startswith(EXPECTED), activation_plugins.__file__
assert activation_plugins.activation_plugins == [adapter("deepmd")]
from deepmd.pt.train.training import Trainer, get_model_for_wrapper
assert not hasattr(Trainer.__init__, "__wrapped__") and not hasattr(get_model_for_wrapper, "__wrapped__")
assert not any(hasattr(f, "__wrapped__") for f in (MLPLayer.__init__, MLPLayer.serialize, DPAtomicModel.__init__, argcheck.normalize))
try:
    argcheck.normalize({"model": {"fitting_net": {"activation_function": "taafs:foo"}}})
except ValueError as error:
    assert "Unknown basis" in str(error)
else:
    raise AssertionError("a bad spec passed")
"""
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(taafs.__file__).parents[1])])}
    result = python(f"EXPECTED = {str(tmp_path)!r}\n{code}", **path)
    assert result.returncode == 0, result.stderr[-2000:]
    config = water_input("taafs:bspline,scale=auto", small_water, steps=2)
    (tmp_path / "input.json").write_text(json.dumps(config))
    train = [command("dp"), "--pt", "train", "input.json", "--skip-neighbor-stat"]
    result = subprocess.run(train, capture_output=True, text=True, env={**environment(), **path}, cwd=tmp_path)
    assert "scale=auto measured at 12 sites" in result.stderr and "TAAFS: 12 sites, 96 coefficients" in result.stderr, result.stderr[-2000:]
    stored = load_state(checkpoint(tmp_path, 2))["_extra_state"]["model_params"]["descriptor"]["activation_function"]
    assert stored == str(taafs.resolve_spec("taafs:bspline,scale=auto,base=tanh,rate=10"))
    tests = [str(Path(__file__).parent / name) for name in ("test_deepmd_model.py", "test_deepmd_zoo.py")]
    inner = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "counts or starts or serialize", *tests]
    result = subprocess.run(inner, capture_output=True, text=True, env={**environment(), **path}, cwd=tmp_path)
    assert result.returncode == 0, result.stdout[-3000:]
