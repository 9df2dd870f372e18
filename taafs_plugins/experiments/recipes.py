"""What to write into each host's config, when, and when not: one table; adapters' defaults and stored studies are checked against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from taafs_plugins.experiments.summary import Row


@dataclass(frozen=True)
class Recipe:
    """One host's.

    Attributes
    ----------
    name : of the host, for people
    spec : to begin with; what it leaves out is the host's default
    share, rate, scale : what the spec resolves to there
    where : the value of the config or the call that takes it
    learning_rate : advice
    use, leave : when to use trained activations, and when not
    evidence : which rows of :func:`taafs_plugins.experiments.summary.summary` it rests on
    """

    name: str
    spec: str
    share: str
    rate: float
    scale: str
    where: str
    learning_rate: str
    use: str
    leave: str
    evidence: Callable[[Row], bool]


RECIPES = {
    "deepmd": Recipe(
        "DeePMD-kit", "taafs:chebyshev1", "layer", 10.0, "1", '"activation_function": "taafs:chebyshev1" in descriptor and fitting_net',
        "a fifth to a twentieth of tanh's best (Cu: 5e-4 to 2e-3, where tanh is best at 1e-2); try two or three on validation frames",
        "train from scratch a network of the paper's size, [25, 25, 25] and [50, 50, 50]: energy and forces gain on copper",
        "one set per neuron (share=neuron) showed no sign of more; before MD run taafs md-check, as the energy becomes rougher",
        lambda row: row.host == "DeePMD-kit" and row.file in ("deepmd_cu.jsonl", "systems.jsonl"),
    ),
    "torchani": Recipe(
        "TorchANI", "taafs:bspline", "layer", 1.0, "1", 'activation="taafs:bspline" in a builder, or taafs.convert(model, "taafs:bspline")',
        "1e-2 over CELU, whose own best is 4e-3; choose on validation molecules",
        "keep CELU, the activation of ANI-1x and ANI-2x: the energy gains, forces a little",
        "where GELU may take CELU's place: plain GELU tests as well, and TAAFS over it does not help",
        lambda row: row.file == "torchani_kernelforge.jsonl" and row.spec.startswith(f"{row.stock}+"),
    ),
    "chgnet": Recipe(
        "CHGNet", "taafs:chebyshev1,scale=auto", "layer", 0.1, "auto", 'taafs.convert(model, "taafs:chebyshev1,scale=auto"); calibrate',
        "1e-2 for the coefficients alone; 3e-3 for all weights",
        "train the 136 coefficients alone, where the file beside the pretrained network must be small: energy only, forces get worse",
        "where all weights are trained: no gain; for accuracy train all weights, or the last MLP, stock",
        lambda row: row.file == "chgnet_iron.jsonl",
    ),
    "schnetpack": Recipe(
        "SchNetPack", "taafs:chebyshev1", "layer", 10.0, "1", "+taafs=chebyshev1 on spktrain's command line",
        "raise SiLU's own first (PaiNN of width 32: 1.6e-2); with TAAFS at most 8e-3, and rate=3 above 4e-3",
        "nowhere yet: no study shows a gain",
        "PaiNN with few frames: forces get worse, as the curves overfit and SiLU takes twice the learning rate",
        lambda row: row.file == "schnetpack_gain.json",
    ),
}  # fmt: skip
