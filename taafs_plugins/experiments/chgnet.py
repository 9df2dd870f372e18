"""Fine-tuning pretrained CHGNet on magnetic iron: the runs that the example and the benchmark share."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import taafs_plugins as taafs
from taafs_plugins import data
from taafs_plugins.adapters.chgnet.finetune import Frames, element_shift

IRON = "fe_magnetic/fe.extxyz"
MPTRJ = "microsoft/mattersim/data/benchmarks/mptrj-random-1k.xyz"
# Squared errors in (eV/atom)^2, (eV/A)^2, GPa^2 and muB^2 differ by orders of magnitude; these bring the energies forward.
RATIOS = dict(energy_loss_ratio=1.0, force_loss_ratio=0.003, stress_loss_ratio=1e-5, mag_loss_ratio=0.003)
SPEC = "taafs:chebyshev1,scale=auto"  # rate: CHGNet's default with scale=auto, 0.1
# what is trained -> patterns of the host's parameters beside the coefficients; None: everything
TRAINED = {"coefficients": [], "readout": ["mlp.*"], "all": None}


def pretrained(name: str = "0.3.0") -> Any:
    """A pretrained CHGNet on the CPU, without its printed lines."""
    from chgnet.model import CHGNet

    with contextlib.redirect_stdout(io.StringIO()):
        return CHGNet.load(model_name=name, use_device="cpu", verbose=False)


def iron(train: int, validate: int, test: int, seed: int = 0) -> tuple[Frames, Frames, Frames, dict[str, float]]:
    """Two-atom frames of magnetic iron: training, validation and test part, and the energy shift that was taken off.

    The test frames are the same for every seed; the seed draws the other two parts. The shift to CHGNet's reference is fitted on the
    training part.
    """
    from ase.io import read

    small = [frame for frame in read(data.fetch(IRON), ":") if len(frame) == 2]
    fixed = np.random.default_rng(0).permutation(len(small))
    drawn = np.random.default_rng(seed).permutation(fixed[test:])[: train + validate]
    parts = [Frames.from_ase([small[i] for i in part]) for part in (drawn[:train], drawn[train:], fixed[:test])]
    shift = element_shift(pretrained(), parts[0])
    return *(part.shifted(shift) for part in parts), shift


def known(count: int, largest: int = 12) -> Frames:
    """MPtrj frames of different materials of at most ``largest`` atoms: data the pretrained networks know."""
    from ase.io import read

    chosen = {}
    for frame in read(data.fetch(MPTRJ), ":"):
        if len(frame) <= largest:
            chosen.setdefault(frame.info["mptrj_traj_id"], frame)
    return Frames.from_ase(list(chosen.values())[:count])


def prepare(frames: Frames, trained: str, spec: str | None = SPEC) -> Any:
    """Pretrained 0.3.0, converted (``spec=None``: stock) and calibrated, with only ``trained`` (a key of ``TRAINED``) trainable."""
    model = pretrained()
    patterns = TRAINED[trained]
    if spec is not None:
        taafs.convert(model, spec)
        if "scale=auto" in spec:
            with taafs.calibrate(model):
                model.predict_structure(list(frames.structures[:24]), task="e")
        if patterns is not None:
            taafs.freeze_all_but_coefficients(model, also=patterns)
    elif patterns is not None:
        prefixes = tuple(pattern.removesuffix("*") for pattern in patterns)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(prefixes))
    return model


class _Ticking:
    """A DataLoader that reports each batch."""

    def __init__(self, loader: Any, tick: Callable[[], None]) -> None:
        self.loader, self.tick = loader, tick

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self):
        for batch in self.loader:
            yield batch
            self.tick()


def fine_tune(
    model: Any, train: Frames, validate: Frames, *, lr: float, epochs: int, seed: int, batch: int = 8, targets: str = "efsm",
    tick: Callable[[], None] = lambda: None,
) -> Any:  # fmt: skip
    """CHGNet's own Trainer (Adam, cosine schedule) on the CPU; its printed lines are dropped.

    Returns
    -------
    the Trainer; ``training_history`` holds the mean absolute errors of every epoch
    """
    from chgnet.data.dataset import collate_graphs
    from chgnet.trainer import Trainer
    from torch.utils.data import DataLoader

    generator = torch.Generator().manual_seed(seed)
    loader = DataLoader(train.dataset(model), batch_size=batch, shuffle=True, generator=generator, collate_fn=collate_graphs)
    validation = DataLoader(validate.dataset(model), batch_size=batch, collate_fn=collate_graphs)
    trainer = Trainer(
        model, targets=targets, learning_rate=lr, epochs=epochs, torch_seed=seed, use_device="cpu", print_freq=10**9, **RATIOS
    )
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        trainer.train(_Ticking(loader, tick), validation, save_dir=folder)
    return trainer
