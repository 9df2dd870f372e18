"""Every command that writes, killed with -9 at each step of its writing and on a full disk: the old file stays, or the new one is whole.

Each run is a fork of this process, which has the packages loaded; audit hooks see what a process opens, renames and deletes.
"""

import json
import os
import resource
import signal
import sys

import pytest
import torch
from PIL import Image
from torchani.arch import simple_ani
from typer.testing import CliRunner

import taafs_plugins as taafs
from taafs_plugins.cli import app
from taafs_plugins.cli.demo import MADE
from taafs_plugins.cli.outputs import DEMO_MARK, demo_folder
from taafs_plugins.testing import randomise

OLD = b"old"
STEPS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")


def whole_model(path):
    assert len(taafs.sites(torch.load(path, weights_only=False)))


def whole_picture(path):
    Image.open(path).load()


def whole_table(path):
    assert json.loads(path.read_text())


COMMANDS = {
    # name: (arguments behind the output, what is written, what reads it)
    "convert": ("convert stock.pt --spec taafs:chebyshev1", "-o", "new.pt", whole_model),
    "export": ("export stock.pt --structures frames.xyz", "-o", "new.pt", torch.jit.load),
    "plot": ("plot trained.pt", "-o", "new.png", whole_picture),
    "pick": ("pick adact.pt", "-o", "new.pt", whole_model),
    "distil": ("distil trained.pt --site *H.layers.0* --rounds 0 --nodes 1", "-o", "new.json", whole_table),
    "choose": ("choose stock.pt frames.xyz --library molu --site *.H.* --threshold 0", "--table", "new.json", whole_table),
    "choose -o": ("choose trained.pt frames.xyz --site *.H.* --threshold 0", "-o", "new.pt", whole_model),
    "md-check": ("md-check stock.pt frames.xyz --atoms 1 --steps 0", "--picture", "new.png", whole_picture),
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with small TorchANI models and a frame; this process then computes nothing more, so that it can be forked."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    folder = tmp_path_factory.mktemp("inputs")
    for name, spec in (("stock", None), ("trained", "taafs:bspline"), ("adact", "adact")):
        torch.manual_seed(0)  # choose finds a better activation for these weights, so that it writes a model
        model = simple_ani(("H",), "wb97x-631gd", repulsion=False)
        if spec:
            taafs.convert(model, spec)
            randomise(model, 0.2)
        torch.save(model, folder / f"{name}.pt")
    atoms = Atoms("H3", [[0, 0, 0], [0.95, 0, 0], [-0.2, 0.9, 0]])
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=0.1 * atoms.positions)
    write(folder / "frames.xyz", atoms)
    return folder


def run(command, folder, hook=None, limit=None):
    """(status of the process, exit code, stderr and exception of the command) of a fork, with an audit hook, or a limit of bytes a file."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            os.chdir(folder)
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            if hook is not None:
                sys.addaudithook(hook)
            result = CliRunner().invoke(app, command)
            os.write(write, json.dumps([result.exit_code, result.stderr[-2000:], repr(result.exception)]).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    return os.waitpid(child, 0)[1], json.loads(said or "null")


def changes(event, arguments, folder):
    """Whether an audited event is about to change something in ``folder``."""
    if event not in STEPS or not str(arguments[0]).startswith((str(folder), "new.", ".new.")):
        return False
    return event != "open" or bool(set(str(arguments[1] or "")) & set("wxa+")) or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))


def watching(folder, path):
    """A hook that keeps what lies at ``path`` before each step, in a folder beside: what a kill would leave at that moment."""
    (folder / "states").mkdir()
    count = 0

    def hook(event, arguments):
        nonlocal count
        if changes(event, arguments, folder) and "states" not in str(arguments[0]):
            count += 1
            os.link(path, folder / "states" / str(count))  # a name for the file that is there, whatever takes its place

    return hook


def killing(folder, path):
    """A hook that kills the process when the new file is about to take the old one's place."""

    def hook(event, arguments):
        if changes(event, arguments, folder) and event == "os.rename" and os.path.basename(arguments[1]) == path.name:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def prepared(name, inputs, folder):
    """(command, path of what it writes, reader); an old file is in its place."""
    arguments, option, output, reader = COMMANDS[name]
    for path in inputs.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / output).write_bytes(OLD)
    return [*arguments.split(), option, output, "--overwrite"], folder / output, reader


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_as_the_new_file_takes_its_place_it_leaves_the_old_one(name, inputs, tmp_path):
    command, path, _ = prepared(name, inputs, tmp_path)
    status, _ = run(command, tmp_path, killing(tmp_path, path))
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and path.read_bytes() == OLD


def earlier_demo(folder):
    """A folder with a demo in it, and a file of the user's."""
    demo_folder(folder, False, MADE)
    (folder / "tanh").mkdir()
    for name in ("tanh/model.pt", "curves.png", "notes.txt"):
        (folder / name).write_bytes(OLD)


def killed_at(step, folder):
    """Whether a process that makes the folder ready for another demo was killed at so many changes; False where it ended before."""
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event, arguments):
            nonlocal count
            if changes(event, arguments, folder):
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            demo_folder(folder, True, MADE)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_demo_killed_at_any_step_is_replaced_by_the_next_one_and_other_files_stay(tmp_path):
    step, killed = 0, True
    while killed:
        step += 1
        folder = tmp_path / str(step)
        earlier_demo(folder)
        killed = killed_at(step, folder)
        assert (folder / "notes.txt").read_bytes() == OLD
        demo_folder(folder, True, MADE)
        assert sorted(path.name for path in folder.iterdir()) == [DEMO_MARK, "notes.txt"]
    assert step >= 4


@pytest.mark.parametrize("name", ["convert", "export", "plot"])
def test_killed_at_any_step_of_writing_it_would_leave_the_old_file_or_the_whole_new_one(name, inputs, tmp_path):
    command, path, reader = prepared(name, inputs, tmp_path)
    status, said = run(command, tmp_path, watching(tmp_path, path))
    assert status == 0 and said[0] == 0, said
    states = sorted((tmp_path / "states").iterdir(), key=lambda state: int(state.name))
    assert len(states) >= 3 and states[0].read_bytes() == OLD != path.read_bytes()
    for state in (*states, path):
        if state.read_bytes() != OLD:
            reader(state)


@pytest.mark.parametrize("name", COMMANDS)
def test_on_a_full_disk_it_says_so_in_one_sentence_and_leaves_the_old_file(name, inputs, tmp_path):
    command, path, _ = prepared(name, inputs, tmp_path)
    before = sorted(file.name for file in tmp_path.iterdir())
    status, (code, said, error) = run(command, tmp_path, limit=64)
    assert status == 0 and code == 1 and error.startswith("SystemExit"), (said, error)
    assert "could not be written whole" in said and "is the disk full" in said and said.count("\n") == 1
    assert path.read_bytes() == OLD and sorted(file.name for file in tmp_path.iterdir()) == before
