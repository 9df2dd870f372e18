"""Building the plugin, how ``lmp`` finds it, and models that call the fused operators."""

import io
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module

import pytest
import torch
from lj_cases import ELEMENTS, argon
from lmp_runs import END, error, header, last, lmp, run, worst, write_data
from typer.testing import CliRunner

import taafs_lammps
import taafs_plugins as taafs
from taafs_plugins.cli import app
from taafs_plugins.experiments.deepmd import command, environment
from taafs_plugins.md import contract
from taafs_plugins.native.lammps import OPERATORS, PROCESSOR, build
from taafs_plugins.native.operators import BuildError


class Curved(torch.nn.Module):
    """Pair energies through a trained activation."""

    def __init__(self, act: torch.nn.Module):
        super().__init__()
        self.act = act

    def forward(self, pos: torch.Tensor, Z: torch.Tensor, idx_i: torch.Tensor, idx_j: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        r = (pos[idx_j] + offsets - pos[idx_i]).square().sum(1).sqrt()
        energy = torch.where(r < 5.0, self.act(3.0 - r) * (1 - r / 5.0).clamp(min=0) ** 3, torch.zeros_like(r))
        return torch.zeros(pos.shape[0], dtype=pos.dtype).index_add(0, idx_i, energy)


def activation(size=0.2):
    act = taafs.make_activation("taafs:bspline", replaces="tanh").double()
    act.delta.data.normal_(std=size, generator=torch.Generator().manual_seed(1))
    return act


def curved(path, fused=None):
    act = activation()
    facts = contract.Metadata("curved", 5.0, 1, ("owner", "ghost"), "eV", (10, 18), "float64", str(act.spec))
    contract.write(torch.jit.script(Curved(act)), path, facts, fused)


def test_the_wheels_lmp_finds_it_beside_deepmd(tmp_path):
    """As a user types it: nothing is set; both plugins are there."""
    build()
    (tmp_path / "in.lmp").write_text("plugin list\n")
    env = {name: value for name, value in environment().items() if name != "LAMMPS_PLUGIN_PATH"}
    result = subprocess.run([command("lmp"), "-in", "in.lmp"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-1000:] + result.stderr[-1000:]
    assert "taafs" in result.stdout and "deepmd" in result.stdout


def test_a_model_that_calls_the_operators(tmp_path, monkeypatch):
    atoms, results = argon(), []
    for form in ("plain", "operator"):
        monkeypatch.setenv("TAAFS_EXPORT", form)
        folder = tmp_path / form
        folder.mkdir()
        write_data(folder / "frame.data", atoms, ELEMENTS)
        curved(folder / "model.pt")
        assert contract.calls_operator(folder / "model.pt") == (form == "operator")
        run(folder, header(atoms, ELEMENTS) + END + "run 0\n")
        results.append(last(folder))
    assert abs(results[0]["energy"]) > 0.01 and worst(*results) < 1e-12
    assert contract.read(tmp_path / "operator" / "model.pt")[1].host == "curved"
    monkeypatch.setenv("TAAFS_OPERATORS", "/nothing.so")
    message = error(tmp_path / "operator", header(atoms, ELEMENTS) + END + "run 0\n")
    assert "calls the fused operators and their library is not there; run 'taafs lammps build' again" in message


def replaced(archive, change):
    """The bytes of a zip archive with every entry changed."""
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(archive) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as new:
            for item in old.infolist():
                new.writestr(item.filename, change(item.filename, old.read(item)))
        return buffer.getvalue()


def of_another_version(path):
    """Give the form with the fused operators an operator that this version does not know."""

    def inner(name, data):
        return data.replace(b"ops.taafs.activation", b"ops.taafs.activatioX")

    def outer(name, data):
        return replaced(io.BytesIO(data), inner) if name.endswith(contract.FUSED) else data

    path.write_bytes(replaced(path, outer))


def test_of_two_forms_the_faster_one_runs_where_it_can(tmp_path, monkeypatch, caplog):
    """Here the form with the fused operators has other coefficients, so that the energy tells which one ran."""
    atoms, energies = argon(), {}
    write_data(tmp_path / "frame.data", atoms, ELEMENTS)
    script = header(atoms, ELEMENTS) + END + "run 0\n"
    for name, size in (("plain", 0.2), ("fused", 0.3)):
        monkeypatch.setenv("TAAFS_EXPORT", "plain" if name == "plain" else "operator")
        forms = torch.jit.script(Curved(activation(size)))
        monkeypatch.delenv("TAAFS_EXPORT")
        contract.write(forms, tmp_path / "model.pt", contract.Metadata("curved", 5.0, 1, ("owner",), "eV", (10, 18), "float64"))
        run(tmp_path, script)
        energies[name] = last(tmp_path)["energy"]
    assert abs(energies["plain"] - energies["fused"]) > 0.01
    curved(tmp_path / "model.pt", fused=forms)
    assert not contract.calls_operator(tmp_path / "model.pt")
    assert "slower" not in run(tmp_path, script)
    assert last(tmp_path)["energy"] == pytest.approx(energies["fused"], rel=1e-12)

    def slower(reason, plugins=None):
        printed = lmp(tmp_path, script, plugins=plugins)
        assert printed.endswith("STATUS 0"), printed[-1500:]
        assert f"WARNING: Pair style taafs: slower without the fused operators, as {reason}; run 'taafs lammps build', or " in printed
        assert last(tmp_path)["energy"] == pytest.approx(energies["plain"], rel=1e-12)

    plugins = tmp_path / "plugins"
    shutil.copytree(build().parent, plugins)
    assert (plugins / PROCESSOR).read_text()
    (plugins / PROCESSOR).write_text("sse2 avx1024")
    slower("their library was built on another kind of processor", str(plugins))
    (plugins / PROCESSOR).write_text("")
    (plugins / OPERATORS).unlink()
    slower("their library is not there", str(plugins))
    (plugins / OPERATORS).write_text("no library")
    slower("their library does not load", str(plugins))
    of_another_version(tmp_path / "model.pt")
    slower("this part of the file cannot be loaded (Unknown builtin op: taafs::activatioX.)")
    with caplog.at_level("WARNING"):
        module, _ = contract.read(tmp_path / "model.pt")
    assert "runs without the fused operators, slower" in caplog.text and "taafs::activat" not in str(module.inlined_graph)


def test_python_takes_the_faster_form_too(tmp_path, monkeypatch):
    monkeypatch.setenv("TAAFS_EXPORT", "operator")
    forms = torch.jit.script(Curved(activation()))
    monkeypatch.delenv("TAAFS_EXPORT")
    curved(tmp_path / "model.pt", fused=forms)
    path = tmp_path / "model.pt"
    assert "taafs::activation" in str(contract.read(path)[0].inlined_graph)
    assert "taafs::activation" not in str(contract.read(path, fused=False)[0].inlined_graph)
    monkeypatch.setattr(import_module("taafs_plugins.activations.taafs.fused"), "operator", lambda: None)  # a machine without a compiler
    assert "taafs::activation" not in str(contract.read(path)[0].inlined_graph)


def test_build_says_why_it_cannot(monkeypatch, tmp_path):
    monkeypatch.setenv("TAAFS_BUILD_CACHE", str(tmp_path))
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BuildError, match="no C\\+\\+ compiler was found"):
        build()
    broken = tmp_path / "bin" / "g++"
    broken.write_text(f"#!{sys.executable}\nprint('it is broken'); raise SystemExit(3)\n")
    broken.chmod(0o755)
    result = CliRunner().invoke(app, ["lammps", "build"])
    assert result.exit_code == 1 and "The plugin cannot be built: g++ failed on it" in result.output + result.stderr
    assert "it is broken" in (taafs_lammps.plugin().parent / "build.log").read_text() and not taafs_lammps.plugin().exists()


def test_a_built_plugin_is_only_looked_up(monkeypatch):
    path = build()
    monkeypatch.setenv("CXX", "false")
    assert build() == path == taafs_lammps.plugin() and os.access(path, os.R_OK)
    assert taafs_lammps.plugin_folder() == str(path.parent)
