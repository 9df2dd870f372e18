"""No command deletes or replaces what it did not make, and what it writes takes its place whole or not at all."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

from taafs_plugins import data
from taafs_plugins.adapters import adapter
from taafs_plugins.cli import app, demo
from taafs_plugins.cli.outputs import DEMO_MARK, OutputError, check_output, demo_folder
from taafs_plugins.files import replacing
from taafs_plugins.native import cache, operators, toolchain
from taafs_plugins.native.formulas import library as formulas
from taafs_plugins.plotting import energies


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def refused(words, *arguments):
    result = run(*arguments)
    assert result.exit_code == 1 and words in result.stderr and result.stderr.count("\n") == 1, result.output


@pytest.fixture
def forbidden(monkeypatch):
    """Nothing is read, fetched or trained when the place to write is refused."""

    def never(*arguments, **options):
        raise AssertionError("began to work")

    monkeypatch.setattr("taafs_plugins.md.export.read_model", never)
    monkeypatch.setattr(data, "fetch_folder", never)


def test_export_never_replaces_its_input_and_nothing_without_being_told(forbidden, tmp_path):
    model, other, link = tmp_path / "iron.pth.tar", tmp_path / "old.pt", tmp_path / "link.pt"
    model.write_text("trained")
    other.write_text("old")
    link.symlink_to(model)
    for output in (model, link):
        for overwrite in ((), ("--overwrite",)):
            refused("is the file that is read; name another file", "export", model, "-o", output, *overwrite)
    refused("exists already; name another file, or let it be replaced with --overwrite", "export", model, "-o", other)
    refused("is a folder", "export", model, "-o", tmp_path)
    refused("There is no folder", "export", model, "-o", tmp_path / "no" / "model.pt")
    assert model.read_text() == "trained" and other.read_text() == "old"


def test_the_function_export_never_replaces_the_file_it_reads(monkeypatch, tmp_path):
    from taafs_plugins.md import export

    model = tmp_path / "model.pth.tar"
    model.write_text("trained")
    monkeypatch.setattr(export, "read_model", lambda path: (torch.nn.Identity(), {}))
    with pytest.raises(export.ExportError, match="is the model itself"):
        export.export(model, tmp_path / "." / "model.pth.tar")
    assert model.read_text() == "trained"


def test_plot_never_replaces_a_file_without_being_told(forbidden, tmp_path):
    model, picture = tmp_path / "model.pt", tmp_path / "curves.png"
    model.write_text("")
    picture.write_text("old")
    refused("--overwrite", "plot", model, "-o", picture)
    refused("is the file that is read", "plot", model, "-o", model, "--overwrite")
    assert picture.read_text() == "old"


def test_check_output_lets_a_new_file_and_a_named_replacement_pass(tmp_path):
    check_output(tmp_path / "new", False, tmp_path / "input")
    (tmp_path / "old").write_text("")
    check_output(tmp_path / "old", True, tmp_path / "input")


def test_demo_stays_away_from_a_folder_that_it_did_not_make(forbidden, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "check_tools", lambda: None)
    thesis = tmp_path / "thesis.tex"
    thesis.write_text("years")
    for overwrite in ((), ("--overwrite",)):
        refused("holds files that no demo made, and stays as it is", "demo", "--output", tmp_path, *overwrite)
        refused("is a file", "demo", "--output", thesis, *overwrite)
    assert thesis.read_text() == "years" and [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_demo_replaces_an_earlier_demo_when_told_and_only_what_it_made(tmp_path):
    folder = tmp_path / "demo"
    demo_folder(folder, False, demo.MADE)
    (folder / "tanh").mkdir()
    (folder / "tanh" / "model.pt").write_text("")
    (folder / "curves.png").write_text("")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds an earlier demo.*--overwrite"):
        demo_folder(folder, False, demo.MADE)
    assert (folder / "tanh" / "model.pt").exists()
    demo_folder(folder, True, demo.MADE)
    assert sorted(p.name for p in folder.iterdir()) == [DEMO_MARK, "notes.txt"]


@pytest.mark.parametrize("missing", ["deepmd", "lmp"])
def test_demo_without_deepmd_is_one_sentence_and_no_folder(forbidden, monkeypatch, tmp_path, missing):
    if missing == "deepmd":
        monkeypatch.setattr(type(adapter("deepmd")), "installed_version", lambda self: None)
    else:
        monkeypatch.setattr(demo.deepmd, "command", lambda name: "/nothing")
    refused("pip install '.[deepmd]'", "demo", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_replacing_changes_nothing_when_the_block_fails(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), replacing(path) as written:
        written.write_text("ha")
        raise OSError("disk full")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    with replacing(path) as written:
        assert written.name == path.name
        written.write_text("new")
    assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with replacing(tmp_path / "link") as written:
        written.write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"


KILLED = """
import os, signal, sys
import torch
from types import SimpleNamespace

def die(*arguments, **options):
    open(arguments[1], "w").write("half")
    os.kill(os.getpid(), signal.SIGKILL)

import safetensors.torch
from taafs_plugins import coefficients, make_activation
safetensors.torch.save_file = die
site = SimpleNamespace(name="a", converted=True, current=make_activation("taafs:bspline"))
coefficients.adapter_for = lambda model: SimpleNamespace(sites=lambda model: [site])
coefficients.save_coefficients(torch.nn.Identity(), sys.argv[1])
"""


def test_kill_while_coefficients_are_saved_leaves_the_old_file(tmp_path):
    path = tmp_path / "coefficients.safetensors"
    path.write_text("old")
    result = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert path.read_text() == "old"


def test_a_picture_that_cannot_be_drawn_leaves_the_old_one(monkeypatch, tmp_path):
    import numpy as np
    from matplotlib.figure import Figure

    path = tmp_path / "energy.png"
    path.write_text("old")

    def fails(figure, file, **options):
        file.write_text("half")
        raise OSError(28, "No space left on device", str(file))

    with monkeypatch.context() as patch:
        patch.setattr(Figure, "savefig", fails)
        with pytest.raises(OSError, match="No space left"):
            energies({"a": np.zeros((2, 2))}, path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["energy.png"]


@pytest.fixture
def caches(monkeypatch, tmp_path):
    """A cache with the folder of this environment, one of another, a failed one, and something of the user's."""
    monkeypatch.setenv(toolchain.CACHE, str(tmp_path))
    here = operators.library_path().parent
    there, failed = tmp_path / "torch1.0.0-0123456789abcdef", tmp_path / "torch2.0.0-0123456789abcdef"
    for folder in (here, there, failed):
        folder.mkdir()
        (folder / toolchain.LOCK).write_text("")
    for folder in (here, there):
        (folder / operators.LIBRARY).write_text("library")
    (failed / toolchain.FAILED).write_text("{}")
    (there / f"{toolchain.WORK}x").mkdir()
    (tmp_path / "torchvision-mine").mkdir()
    (tmp_path / "torchvision-mine" / "lock").write_text("mine")
    return here, there, failed


def test_cache_list_says_what_is_used_here(caches):
    here, there, failed = caches
    lines = run("cache", "list").stdout.splitlines()
    assert len(lines) == 3
    said = {line.partition(": ")[0]: line for line in lines}
    assert "fused kernels, built, used here" in said[str(here)] and "built, of another environment" in said[str(there)]
    assert "failed, of another environment" in said[str(failed)]


def test_cache_clear_deletes_what_builds_made_and_nothing_else(caches, tmp_path):
    here, there, failed = caches
    (failed / "notes.txt").write_text("mine")
    assert "Failed builds forgotten: 1." in run("cache", "clear", "--failed").stdout
    assert not (failed / toolchain.FAILED).exists() and there.exists()
    assert "Deleted: 2." in run("cache", "clear", "--others").stdout
    assert here.exists() and not there.exists() and os.listdir(failed) == ["notes.txt"]
    run("cache", "clear")
    assert not here.exists() and (tmp_path / "torchvision-mine" / "lock").read_text() == "mine"


def test_kernels_of_formulas_are_kept_listed_and_forgotten_as_the_others_are(caches, tmp_path):
    used = formulas.library_path(formulas.named_formulas()).parent
    failed = tmp_path / "formulas-torch2.0.0-0123456789abcdef"
    for folder in (used, failed):
        folder.mkdir()
    (used / formulas.LIBRARY).write_text("library")
    (failed / toolchain.FAILED).write_text("{}")
    said = run("cache", "list").stdout
    assert f"{used}: kernels of formulas, built, used here" in said and f"{failed}: kernels of formulas, failed, of another" in said
    assert "Failed builds forgotten: 2." in run("cache", "clear", "--failed").stdout
    run("cache", "clear")
    assert not used.exists() and not failed.exists()


def test_cache_clear_leaves_a_folder_where_a_build_is_at_work(caches):
    here, _, _ = caches
    entry = next(entry for entry in cache.kept() if entry.used)
    with toolchain.lock(here / toolchain.LOCK):
        assert cache.clear(entry) is False
    assert (here / operators.LIBRARY).exists() and cache.clear(entry) and not here.exists()
