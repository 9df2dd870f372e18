"""Hosts' commands in processes forked from one that has their imports done: a fresh process without the seconds that importing takes.

``run`` takes what ``subprocess.run`` takes. The first call starts a server with exactly the given environment, which imports the named
modules as the host itself does (its plugins by their entry points) and from then on does nothing but fork: every command starts from
the state right after the imports, in its own folder, with its own arguments and output, and ends as a process of its own. Commands
that depend on what happens while modules are imported belong into true processes, and every host has tests of those too.
"""

import atexit
import importlib
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import types
from pathlib import Path

# variables that nothing reads while it is imported: they need no server of their own
LATE = ("PYTEST_CURRENT_TEST", "PYTEST_VERSION", "TAAFS_EXPORT", "TAAFS_TWO_STAGE")
KEPT = 2  # servers, the newest; each holds its modules in memory
_servers: dict[tuple, "Server"] = {}
_lock = threading.Lock()


class Server:
    """A process that has imported ``modules`` and forks for each command."""

    def __init__(self, modules: tuple[str, ...], env: dict[str, str]):
        self.process = subprocess.Popen(
            [sys.executable, __file__, *modules], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.may_fork = json.loads(self.process.stdout.readline())["may fork"]

    def run(self, request: dict) -> int:
        """Status of a command."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["status"]

    def close(self) -> None:
        """End the server and what runs in it."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def run(command, *, modules: tuple[str, ...], cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Run ``command``, one of Python (a script of an environment's bin; or ``python`` with a file, -c or -m), and keep what it prints."""
    command, env = list(map(str, command)), dict(os.environ if env is None else env)
    with _lock:
        server = _server(modules, {key: value for key, value in env.items() if key not in LATE})
        if not server.may_fork:
            return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in ("stdout", "stderr")]
            try:
                status = server.run({"command": command, "cwd": str(cwd), "env": env, "files": list(map(str, files))})
            except BaseException:  # a test's time is up: whatever hangs must not hang on
                _drop(server)
                raise
            return subprocess.CompletedProcess(command, status, *(path.read_text(errors="replace") for path in files))


def _server(modules: tuple[str, ...], env: dict[str, str]) -> Server:
    """The server for these modules and this environment."""
    key = (modules, frozenset(env.items()))
    if key not in _servers:
        for old in list(_servers.values())[: len(_servers) - KEPT + 1]:
            _drop(old)
        _servers[key] = Server(modules, env)
    return _servers[key]


def _drop(server: Server) -> None:
    server.close()
    for key in [key for key, value in _servers.items() if value is server]:
        del _servers[key]


@atexit.register
def _close_all() -> None:
    for server in list(_servers.values()):
        _drop(server)


# in the server ----------------------------------------------------------------------------------------------------------------


def _serve(modules: list[str]) -> dict:
    """Fork for every line of standard input; returns in the children, with what is to be run."""
    requests, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what a module prints when it is imported is no reply
    for name in modules:
        importlib.import_module(name)
    print(json.dumps({"may fork": _may_fork()}), file=replies, flush=True)
    for line in iter(requests.readline, ""):
        child = os.fork()
        if not child:
            requests.close()
            replies.close()
            return json.loads(line)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status}), file=replies, flush=True)
    os._exit(0)


def _may_fork() -> bool:
    """Threads do not live on in a fork (jemalloc's, which tidies up, is made for that), and neither does what CUDA has begun."""
    torch = sys.modules.get("torch")
    threads = [Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task")]
    others = [name for name in threads if name != "jemalloc_bg_thd"]
    return len(others) == 1 and (torch is None or not torch.cuda.device_count())


def _become(request: dict) -> None:
    """What the operating system and Python set up for a new process."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for number, name in enumerate(request["files"], start=1):
        with open(name, "w") as file:
            os.dup2(file.fileno(), number)
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def _run(command: list[str]) -> None:
    """Run a command as ``__main__``; its exceptions and its exit are Python's."""
    if not Path(command[0]).name.startswith("python"):
        command = [sys.executable, *command]
    first, *rest = command[1:]
    if first in ("-c", "-m"):
        sys.argv, sys.path[0] = [first, *rest[1:]], "" if first == "-c" else os.getcwd()
    else:
        sys.argv, sys.path[0] = [first, *rest], str(Path(first).resolve().parent)
    if first == "-c":
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    elif first == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    _request = _serve(sys.argv[1:])
    _become(_request)
    _run(_request["command"])
