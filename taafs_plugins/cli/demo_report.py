"""What ``taafs demo`` says: its tables, what each number means, the verdict and what to type next."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from taafs_plugins.experiments import lammps

# eV and eV/A, sums of some hundred terms of float64 in another order
SAME = 1e-6
# meV/atom: what the total energy of a run may move before the demo calls it a jump; kT is 28
JUMP = 1.0
# of a step's time: what a reader would call the same
SLOWER = 1.1


def opening(spec: str) -> str:
    """The first lines."""
    return (
        f'The same DeePMD-kit input twice: "activation_function": "tanh", and "{spec}".\n'
        "A step of each is timed, both train side by side, then LAMMPS runs both."
    )


def training(steps: int, seconds: float) -> str:
    """What comes next, and how long it takes; two runs side by side slow each other by up to two."""
    alone = steps * seconds / 60
    return f"Each trains for {steps} steps: {max(1, round(alone))} to {max(2, round(2 * alone))} minutes."


def accuracy(rows: dict[str, dict], steps: int, times: dict, console: Console) -> None:
    """The table of held-out errors, and what its numbers mean."""
    table = Table("", title=f"After {steps} training steps each; frames that neither side saw")
    for heading in ("numbers", "energy error\nmeV/atom", "force error\neV/A", "a step\nms of CPU"):
        table.add_column(heading, justify="right")
    for (name, row), seconds in zip(rows.items(), (times["first"], times["second"]), strict=True):
        table.add_row(name, str(row["parameters"]), f"{1e3 * row['energy']:.2f}", f"{row['force']:.4f}", f"{1e3 * seconds:.1f}")
    ratio, added = ratios(rows), _added(rows)
    table.add_row("ratio", f"+{added}", f"{ratio['energy']:.2f}", f"{ratio['force']:.2f}", f"{times['ratio']:.2f}", style="bold")
    console.print(table)
    frames = next(iter(rows.values()))["frames"]
    _explain(
        console,
        ("numbers", f"trained ones; TAAFS adds {added}, a set for each layer."),
        ("errors", f"root mean square over {frames} frames. Below 1 in the last line: TAAFS is better."),
        ("a step", f"median of {times['pairs']} pairs in turn, quartiles {times['low']:.2f}-{times['high']:.2f}. Good: below {SLOWER}."),
    )


def figures(run: dict) -> dict:
    """What is reported of a LAMMPS run with its ``energy`` [n, 3]: ps, eV/atom, K."""
    energy = run["energy"]
    change = 1e3 * np.abs(energy[:, 1] - energy[0, 1]).max()
    kept = {key: run[key] for key in ("milliseconds", "energy difference", "force difference")}
    return {"drift": lammps.drift(energy), "moved": float(change), "kelvin": float(energy[:, 2].mean()), "ps": float(energy[-1, 0]), **kept}


def dynamics(rows: dict[str, dict], console: Console) -> None:
    """The table of the LAMMPS runs, and what its numbers mean."""
    first = next(iter(rows.values()))
    table = Table("", title=f"LAMMPS, {first['ps']:g} ps at constant energy after a thermostat")
    for heading in ("mean\nK", "drift\neV/atom/ps", "most moved\nmeV/atom", "Python-LAMMPS\neV, eV/A", "a step\nms"):
        table.add_column(heading, justify="right")
    for name, r in rows.items():
        same = f"{r['energy difference']:.0e}, {r['force difference']:.0e}"
        table.add_row(name, f"{r['kelvin']:.0f}", f"{r['drift']:+.1e}", f"{r['moved']:.3f}", same, f"{r['milliseconds']:.1f}")
    console.print(table)
    _explain(
        console,
        ("drift", "slope of the total energy, which should stay. Good: no larger than tanh's."),
        ("most moved", f"largest distance from its start. Good: below {JUMP:g}; a jump would show here."),
        ("Python-LAMMPS", f"one frame computed by both. Good: below {SAME:g}."),
    )


def _explain(console: Console, *lines: tuple[str, str]) -> None:
    for word, meaning in lines:
        console.print(f"[bold]{word}[/bold]: {meaning}", highlight=False)
    console.print()


def ratios(rows: dict[str, dict]) -> dict[str, float]:
    """Errors of TAAFS over those of tanh."""
    stock, ours = rows.values()
    return {key: ours[key] / stock[key] for key in ("energy", "force")}


def _added(rows: dict[str, dict]) -> int:
    stock, ours = rows.values()
    return ours["parameters"] - stock["parameters"]


def verdict(rows: dict[str, dict], times: dict) -> str:
    """One sentence on accuracy and cost, one on dynamics, made of the figures whatever they are."""
    ratio = ratios(rows)
    better = [ratio["energy"] < 1, ratio["force"] < 1]
    judged = "is better" if all(better) else "is better in part" if any(better) else "did not help in so short a training"
    cost = "the same time per step" if times["ratio"] < SLOWER else f"{times['ratio']:.2f} times the time per step"
    sentence = (
        f"With {_added(rows)} more numbers and {cost}, TAAFS {judged}: {ratio['energy']:.2f} of tanh's energy error and "
        f"{ratio['force']:.2f} of its force error."
    )
    moved = {name: row["moved"] for name, row in rows.items()}
    jumped = [name for name, distance in moved.items() if not distance < JUMP]
    if jumped:
        sentence += f" In LAMMPS the total energy of {' and of '.join(jumped)} jumped: train longer (--minutes) before using such a model."
    else:
        stock, ours = (abs(row["drift"]) for row in rows.values())
        held = "its drift is within the rule" if lammps.drift_passes(ours, stock) else f"its drift is {ours / stock:.1f} times tanh's"
        sentence += f" In LAMMPS both keep their total energy to {max(moved.values()):.2g} meV/atom; {held} (at most 1.2 times tanh's)."
    differences = [row[key] for row in rows.values() for key in ("energy difference", "force difference")]
    return sentence + ("" if max(differences) < SAME else " Python and LAMMPS differ, which is a bug: please report it.")


def ending(rows: dict[str, dict], times: dict, output: Path, console: Console) -> None:
    """Pictures, verdict, and what to type next; with a desktop the pictures open."""
    pictures = [output / "curves.png", output / "energy.png"]
    console.print(f"Learned curves: {pictures[0]}\nTotal energy against time: {pictures[1]}\n", highlight=False)
    console.print(f"[bold]Verdict.[/bold] {verdict(rows, times)}", highlight=False)
    console.print(
        '\n[bold]Next[/bold]: in your own input.json write "activation_function": "taafs:chebyshev1" and run\n\n'
        "    dp --pt train input.json\n\n"
        "docs/deepmd.md walks from there to LAMMPS; docs/results.md has longer runs with seeds.",
        highlight=False,
    )
    if console.is_terminal and has_desktop():
        for picture in pictures:
            typer.launch(str(picture))


def has_desktop() -> bool:
    """Whether a picture can be shown: a display here, not one at the other end of a remote shell."""
    if "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform == "darwin" or any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))
