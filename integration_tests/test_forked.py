"""Forked commands behave as fresh processes do."""

import os
import subprocess
import sys

import forked
import pytest

SHOW = """
import os, sys, json
print(__name__, os.getcwd(), sys.argv[1:], os.environ.get("TAAFS_EXPORT"), os.environ.get("SHOWN"), sys.path[0], "decimal" in sys.modules)
print("said", file=sys.stderr)
sys.exit({status})
"""


def both(command, cwd, **env):
    """The command as a forked process with ``decimal`` imported, and as a true one."""
    env = {**os.environ, **env}
    return (
        forked.run(command, modules=("decimal",), cwd=cwd, env=env),
        subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True),
    )


@pytest.mark.parametrize(("status", "code", "last"), [("3", 3, ""), ("'a sentence'", 1, "a sentence\n"), ("None", 0, "")])
def test_folder_arguments_variables_output_and_status_are_those_of_the_command(tmp_path, status, code, last):
    (tmp_path / "show.py").write_text(SHOW.format(status=status))
    for words in (("show.py",), ("-c", SHOW.format(status=status)), ("-m", "show")):
        ours, true = both([sys.executable, *words, "one", 2], tmp_path, TAAFS_EXPORT="plain", SHOWN="yes")
        assert ours.returncode == true.returncode == code and ours.stderr == true.stderr == f"said\n{last}"
        assert "__main__" in ours.stdout and "'one', '2'] plain yes" in ours.stdout
        assert ours.stdout.split()[:-1] == true.stdout.split()[:-1], words
        assert (ours.stdout.split()[-1], true.stdout.split()[-1]) == ("True", "False")  # imported before, and only there


def test_a_command_leaves_nothing_behind_for_the_next(tmp_path):
    change = "import os, sys, decimal; decimal.changed = os.environ['LEFT'] = 'x'; os.chdir('/')"
    look = "import os, decimal; print(hasattr(decimal, 'changed'), 'LEFT' in os.environ, os.getcwd())"
    assert forked.run([sys.executable, "-c", change], modules=("decimal",), cwd=tmp_path).returncode == 0
    found = forked.run([sys.executable, "-c", look], modules=("decimal",), cwd=tmp_path)
    assert found.stdout.split() == ["False", "False", str(tmp_path)]


def test_another_environment_has_a_server_of_its_own(tmp_path):
    look = [sys.executable, "-c", "import os; print(os.getppid())"]
    servers = [forked.run(look, modules=("decimal",), cwd=tmp_path, env={**os.environ, "SHOWN": value}).stdout for value in "aba"]
    assert servers[0] == servers[2] != servers[1]


def test_errors_are_tracebacks_and_a_killed_command_says_so(tmp_path):
    ours, true = both([sys.executable, "-c", "import os; 1 / 0"], tmp_path)
    assert ours.returncode == true.returncode == 1 and ours.stderr.endswith(true.stderr.splitlines()[-1] + "\n")
    ours, true = both([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], tmp_path)
    assert ours.returncode == true.returncode == -9
