"""Training steps of DeePMD-kit models timed in turn, in one process: what else the machine does meets both sides alike.

    python -m taafs_plugins.experiments.step_times FIRST.json SECOND.json OUT.json PAIRS

takes two ``input.json``, does one step of each in turn ``PAIRS`` times and writes the result of :func:`measure`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from taafs_plugins.activations import TrainableActivation
from taafs_plugins.experiments import deepmd

# Where memory is given back to the system after each step, the next one gets it page by page, zeroed: chance decides which side pays.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483647", "MALLOC_TOP_PAD_": "268435456"}
WARM_UP = 3


def _randomise(model: nn.Module, seed: int = 0) -> None:
    """Give every coefficient a random value: a curve that is 0 takes another way through the kernels."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, TrainableActivation):
                module.delta.copy_(0.1 / module.rate * torch.randn(module.delta.shape, generator=generator, dtype=torch.float64))


def training_step(config: dict) -> Callable[[], None]:
    """One Adam step, energy and forces, on the first frame of the first training system of an ``input.json`` read as ``config``."""
    import deepmd.pt  # noqa: F401  (teaches DeePMD-kit the specs)
    from deepmd.pt.model.model import get_model

    torch.manual_seed(0)
    model = get_model(json.loads(json.dumps(config["model"])))
    _randomise(model)
    device = next(model.parameters()).device
    system = Path(config["training"]["training_data"]["systems"][0])
    frame = {key: np.load(system / "set.000" / f"{key}.npy")[:1] for key in ("coord", "box", "energy", "force")}
    coord, box, energy, force = (
        torch.tensor(frame[key], dtype=torch.float64, device=device) for key in ("coord", "box", "energy", "force")
    )
    types = torch.tensor([[int(t) for t in (system / "type.raw").read_text().split()]], device=device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-9)
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        result = model(coord.detach().requires_grad_(), types, box=box)
        error = result["force"].reshape(force.shape) - force
        (error.square().mean() + 1e-6 * (result["energy"] - energy).square().mean()).backward()
        optimizer.step()

    return step


def in_turn(first: Callable[[], None], second: Callable[[], None], pairs: int, told: Callable[[int], None]) -> dict[str, list[float]]:
    """Both done ``pairs`` times in turn.

    Returns
    -------
    ``first``, ``second``: CPU seconds of each step; ``wall``: seconds by the clock of each pair
    """
    seconds: dict[str, list[float]] = {"first": [], "second": [], "wall": []}
    for pair in range(pairs):
        began = time.perf_counter()
        for name in ("first", "second") if pair % 2 else ("second", "first"):
            start = time.process_time()
            (first if name == "first" else second)()
            seconds[name].append(time.process_time() - start)
        seconds["wall"].append(time.perf_counter() - began)
        told(pair + 1)
    return seconds


def measure(first: dict, second: dict, pairs: int, told: Callable[[int], None]) -> dict:
    """Steps of two inputs in turn.

    Returns
    -------
    ``first``, ``second``: median CPU seconds of a step; ``wall``: median seconds by the clock of a step of either; ``ratio``: median of
    second / first over the pairs, ``low`` and ``high`` its quartiles; ``pairs``
    """
    steps = [training_step(config) for config in (first, second)]
    for _ in range(WARM_UP):
        for step in steps:
            step()
    seconds = in_turn(*steps, pairs, told)
    ratios = [b / a for a, b in zip(seconds["first"], seconds["second"], strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    medians = {name: statistics.median(seconds[name]) for name in ("first", "second")}
    return {**medians, "wall": statistics.median(seconds["wall"]) / 2, "ratio": ratio, "low": low, "high": high, "pairs": pairs}


def time_pair(configs: list[dict], folder: Path, pairs: int, progress: Callable[[int], None]) -> dict:
    """:func:`measure` of two inputs in a process of its own with the allocator's thresholds fixed; files lie in ``folder``.

    Raises
    ------
    RunError
        When it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = ["first.json", "second.json"]
    for name, config in zip(names, configs, strict=True):
        (folder / name).write_text(json.dumps(config, indent=1))

    def poll() -> None:
        lines = (folder / "timing.log").read_text().split()
        progress(lines.count("pair"))

    arguments = [sys.executable, "-m", "taafs_plugins.experiments.step_times", *names, "times.json", str(pairs)]
    deepmd.run(arguments, folder, log="timing.log", poll=poll, variables=ALLOCATOR)
    return json.loads((folder / "times.json").read_text())


def main(first: str, second: str, output: str, pairs: str) -> None:
    """The program: two inputs, the file to write, how many pairs."""
    torch.set_num_threads(1)
    configs = [json.loads(Path(name).read_text()) for name in (first, second)]
    result = measure(*configs, int(pairs), lambda n: print("pair", n, flush=True))
    Path(output).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
