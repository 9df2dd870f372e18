"""TAAFS beside what else could stand in a network: numbers, time and memory of a force-training step, smoothness, TorchScript.

    python benchmarks/compare.py               # about four minutes of one free core; or: taafs compare
    python benchmarks/compare.py --page        # also stores the result and writes the table of docs/comparison.md
    python benchmarks/compare.py --page --only "stock tanh" --only "safe"      # some of them anew, the others as they are stored

One 3x25 network (three inputs, tanh, float64) with each in place of its activations; a KAN layer in place of a whole layer. A step is
energy, force, and the gradient of a loss on both for every number. Steps are timed in turn with stock tanh's, one thread, CPU time,
malloc's thresholds fixed.
The KAN layer is pykan's and one of the Padé units rational_activations's, where those are installed (``pip install --no-deps pykan
rational_activations`` in an environment of its own: the second asks for torch 1.7.1, and runs with today's).
"""

import datetime
import io
import json
import os
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import pinned
import speed
import speed_work as work
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

import taafs_plugins as taafs
from taafs_plugins.files import replacing

RESULTS = Path(__file__).parent / "results" / "compare.json"
PAGE = Path(__file__).parents[1] / "docs" / "comparison.md"
MARKS = "<!-- table: benchmarks/compare.py -->\n", "<!-- end of table -->"
ROWS, WIDTH = 4_000, 25
COLUMNS = ("", "numbers", "step / stock", "memory / stock", "continuous derivatives", "third derivative", "TorchScript")


class Recursive(nn.Module):
    """The paper's B-spline as it is usually written: Cox and de Boor's recursion in tensor operators, 5 intervals, order 3, over tanh."""

    def __init__(self, grid: int = 5, order: int = 3) -> None:
        super().__init__()
        self.order = order
        self.register_buffer("knots", (torch.arange(grid + 2 * order + 1) - order) * (2 / grid) - 1)
        self.theta = nn.Parameter(0.01 * torch.randn(grid + order))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        u = torch.tanh(z).unsqueeze(-1)
        t = self.knots
        b = ((u >= t[:-1]) & (u < t[1:])).to(z.dtype)
        for k in range(1, self.order + 1):
            left = (u - t[: -k - 1]) / (t[k:-1] - t[: -k - 1]) * b[..., :-1]
            b = left + (t[k + 1 :] - u) / (t[k + 1 :] - t[1:-k]) * b[..., 1:]
        return torch.tanh(z) + (b * self.theta).sum(-1)


class Pade(nn.Module):
    """The safe Pade unit (Molina, Schramowski, Kersting 2020, version A): P of degree 5 over 1 + sum of abs(b_k z^k); begins near tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([0.0, 1.0, 0.0, 1 / 9, 0.0, 1 / 945]))
        self.q = nn.Parameter(torch.tensor([0.01, 4 / 9, 0.01, 1 / 63]))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        powers = torch.stack([z**k for k in range(6)], -1)
        return (powers * self.p).sum(-1) / (1 + (powers[..., 1:5] * self.q).abs().sum(-1))


class Kan(nn.Module):
    """pykan's layer, which is a linear map and its activations in one."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        from kan import KANLayer

        self.layer = KANLayer(inputs, WIDTH, num=5, k=3)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.layer(z)[0]


def rational_activations() -> nn.Module:
    """The package's own safe Padé unit: version A, degrees 5 and 4, begun at tanh."""
    from rational.torch import Rational

    return Rational(approx_func="tanh", degrees=(5, 4), version="A", cuda=False)


def trained(spec: str) -> nn.Module:
    """One of ours with random coefficients."""
    act = taafs.make_activation(spec, replaces="tanh", width=WIDTH)
    nn.init.normal_(act.delta, std=0.01)
    return act


CONTENDERS: dict[str, Callable[[], nn.Module]] = {
    "stock tanh": nn.Tanh,
    "`taafs:chebyshev1`": lambda: trained("taafs:chebyshev1"),
    "`taafs:bspline`": lambda: trained("taafs:bspline"),
    "`taafs:bspline,share=neuron`": lambda: trained("taafs:bspline,share=neuron"),
    "B-spline by recursion": Recursive,
    "safe Padé unit": Pade,
    "rational_activations 0.2.0": rational_activations,
    "`nn.PReLU`": nn.PReLU,
    "KAN layer (pykan 0.2.8)": Kan,
}


def network(make: Callable[[], nn.Module]) -> nn.Sequential:
    """3-25-25-25-1 with ``make`` in place of its activations, or of whole layers."""
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for width in (3, WIDTH, WIDTH):
        parts += [Kan(width)] if make is Kan else [nn.Linear(width, WIDTH), make()]
    return nn.Sequential(*parts, nn.Linear(WIDTH, 1)).double()


def step_of(model: nn.Module) -> work.Step:
    """A force-training step without the optimiser."""
    x = torch.randn(ROWS, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def step() -> None:
        inputs = x.detach().requires_grad_()
        energy = model(inputs).sum()
        (force,) = torch.autograd.grad(energy, inputs, create_graph=True)
        model.zero_grad(set_to_none=True)
        (force.square().sum() + energy.square()).backward()

    return step


def derivatives(model: nn.Module, t: torch.Tensor, order: int) -> list[torch.Tensor]:
    """Value and derivatives of the network along a line through its inputs, by autograd."""
    direction = torch.tensor([1.0, 0.7, -0.4], dtype=torch.float64)
    t = t.detach().requires_grad_()
    found = [model(t[:, None] * direction)[:, 0]]
    for _ in range(order):
        grad = torch.autograd.grad(found[-1].sum(), t, create_graph=True, allow_unused=True)[0] if found[-1].requires_grad else None
        found.append(torch.zeros_like(t) if grad is None else grad)
    return [f.detach() for f in found]


def continuous(model: nn.Module) -> int:
    """How many derivatives, up to three, have no jump: the largest change between neighbours halves with their distance."""
    largest = []
    for points in (4_001, 8_001):
        found = derivatives(model, torch.linspace(-2, 2, points, dtype=torch.float64), 3)
        largest.append([float(f.diff().abs().max()) for f in found[1:]])
    smooth = [fine < 0.75 * coarse or coarse < 1e-9 for coarse, fine in zip(*largest, strict=True)]
    return smooth.index(False) if False in smooth else 3


def third(model: nn.Module, h: float = 1e-5) -> float:
    """Median relative difference between autograd's third derivative and differences of its second, away from kinks and knots."""
    t = torch.linspace(-1.9, 1.9, 101, dtype=torch.float64)
    ours = derivatives(model, t, 3)[3]
    difference = (derivatives(model, t + h, 2)[2] - derivatives(model, t - h, 2)[2]) / (2 * h)
    return float((ours - difference).abs().median() / difference.abs().median().clamp(min=1e-12))


def scripted(model: nn.Module) -> bool:
    """Whether TorchScript writes the network, and the file's forces are the network's."""
    try:
        stream = io.BytesIO()
        torch.jit.save(torch.jit.script(model), stream)
    except Exception:  # TorchScript raises anything for what it does not know
        return False
    stream.seek(0)
    t = torch.linspace(-1, 1, 11, dtype=torch.float64)
    return torch.allclose(derivatives(torch.jit.load(stream), t, 1)[1], derivatives(model, t, 1)[1], rtol=1e-9)


def measured(name: str, make: Callable[[], nn.Module], stock: nn.Module, pairs: int) -> dict:
    """All figures of one."""
    model = network(make)
    seconds = speed.compare(step_of(stock), step_of(model), pairs, 1)
    ratios = [b / a for a, b in zip(*seconds, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    memory = statistics.median(speed.peak_bytes(step_of(model)) / speed.peak_bytes(step_of(stock)) for _ in range(3))
    numbers = sum(p.numel() for p in model.parameters() if p.requires_grad) - sum(p.numel() for p in stock.parameters())
    return {
        "name": name, "numbers": numbers, "step": middle, "low": low, "high": high, "memory": memory, "continuous": continuous(model),
        "third": third(model), "scripts": scripted(model), "load": os.getloadavg()[0],
        "faults": round(seconds.faults, 1),
    }  # fmt: skip


def cells(row: dict) -> list[str]:
    """A row of the table."""
    smooth = ("none", "one", "two", "three or more")[row["continuous"]]
    third_derivative = "right" if row["third"] < 1e-4 else f"off by {row['third']:.0e}"
    step = f"{row['step']:.2f} ({row['low']:.2f}-{row['high']:.2f})"
    return [row["name"], f"+{row['numbers']}", step, f"{row['memory']:.2f}", smooth, third_derivative, "yes" if row["scripts"] else "no"]


def contenders(console: Console, only: list[str] | None) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Those that are installed, of those whose names hold one of ``only``."""
    for name, make in CONTENDERS.items():
        if only and not any(part in name for part in only):
            continue
        try:
            network(make)
        except ModuleNotFoundError as error:
            console.print(f"{name}: left out, since {error.name} is not installed")
            continue
        yield name, make


def markdown(stored: dict) -> str:
    """The table for the page."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *(f"| {' | '.join(cells(row))} |" for row in stored["rows"])]
    least, most = (f"{edge(row['load'] for row in stored['rows']):.0f}" for edge in (min, max))
    load = least if least == most else f"{least} to {most}"
    return f"{stored['machine']}; {stored['pairs']} pairs, load of the machine {load}.\n\n" + "\n".join(lines) + "\n"


def merged(rows: list[dict]) -> list[dict]:
    """New rows, and stored ones of other names, in the order of the table."""
    known = {row["name"]: row for row in json.loads(RESULTS.read_text())["rows"]} if RESULTS.is_file() else {}
    known |= {row["name"]: row for row in rows}
    return [known[name] for name in CONTENDERS if name in known]


def main(
    pairs: Annotated[int, typer.Option(help="pairs of steps for each figure", min=5)] = 15,
    only: Annotated[list[str] | None, typer.Option(help="a part of a name, may be repeated: those alone")] = None,
    page: Annotated[bool, typer.Option("--page", help="store the result and write the table of docs/comparison.md")] = False,
) -> None:
    """Compare activations in one small network."""
    if unknown := [part for part in only or () if not any(part in name for name in CONTENDERS)]:
        raise typer.BadParameter(f"no name holds '{unknown[0]}'; there are: {', '.join(CONTENDERS)}")
    pinned.pin_malloc()
    torch.set_num_threads(1)
    console = Console()
    stock = network(nn.Tanh)
    rows = []
    for name, make in contenders(console, only):
        with console.status(name):
            rows.append(measured(name, make, stock, pairs))
        said = ", ".join(cells(rows[-1])) + f"; page faults a step: {rows[-1]['faults']}"
        console.print(said, soft_wrap=True, highlight=False, markup=False)
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*cells(row))
    console.print(table)
    if page:
        stored = {
            "date": datetime.date.today().isoformat(),
            "machine": speed.machine(),
            "pairs": pairs,
            "rows": merged(rows) if only else rows,
        }
        with replacing(RESULTS) as written:
            written.write_text(json.dumps(stored, indent=1) + "\n")
        before, _, rest = PAGE.read_text().partition(MARKS[0])
        PAGE.write_text(before + MARKS[0] + "\n" + markdown(stored) + "\n" + MARKS[1] + rest.partition(MARKS[1])[2])


if __name__ == "__main__":
    typer.run(main)
