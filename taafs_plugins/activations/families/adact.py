"""AdAct, ``sum_i softmax(w)_i act_i(z)``: eight numbers, the weights and PReLU's slope.

Adaptive activation (AdAct), section 2. ``adact:paper`` has its seven: ReLU, ELU, LeakyReLU, PReLU, RReLU, SiLU, Mish (C0). RReLU is
random in training; energies must not be: it has its mean slope, 11/48. ``adact:smooth``, the default, has the same seven with GELU
for ReLU inside each, and tanh for ELU, whose left side saturates: analytic.
"""

from __future__ import annotations

import torch

from taafs_plugins.activations.base import Place
from taafs_plugins.activations.formula import FormulaActivation
from taafs_plugins.activations.members import CORES, MEMBERS, SETS, SMOOTHNESS, core
from taafs_plugins.activations.parts import keys_of
from taafs_plugins.activations.registry import Family, register_family
from taafs_plugins.activations.spec import Key, Spec, SpecError, nearest


class AdAct(FormulaActivation):
    """The numbers are the members' weights before the softmax and, where a member has one, the trained slope.

    ``cores`` and ``slopes`` say what the members are, as in :data:`MEMBERS`; set when it is built.
    """

    kernel, kernel_numbers = "adact", 5

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """Members of one core are added up before it is computed."""
        w = torch.softmax(torch.stack(p[: len(self.cores)], -1), -1).unbind(-1)
        held = torch.clamp(z, min=-80.0, max=80.0)
        line = torch.zeros_like(w[0])
        sums: dict[str, torch.Tensor] = {}
        for i, name in enumerate(self.cores):
            slope = self.slopes[i]
            straight = w[i] * (p[-1] if slope < 0.0 else torch.full_like(w[i], slope))
            line = line + straight
            sums[name] = sums[name] + (w[i] - straight) if name in sums else w[i] - straight
        y = line * z
        for name, factor in sums.items():
            y = y + factor * core(name, z, held)
        return y

    def prepared(self, theta: torch.Tensor) -> torch.Tensor:
        """How much of z and of each core: [..., 5], which the compiled kernels take."""
        w = torch.softmax(theta[..., : len(self.cores)], -1)
        return w @ self.fixed.to(w) + (theta[..., -1:] * w) @ self.moved.to(w)

    def set_members(self, pairs: list[tuple[str, float]]) -> None:
        """Say what the members are; kernels are for the smooth ones."""
        self.cores, self.slopes = [name for name, _ in pairs], [slope for _, slope in pairs]
        if not set(self.cores) <= set(CORES):
            self.kernel = ""
            return
        fixed, moved = torch.zeros(2, len(pairs), 1 + len(CORES), dtype=torch.float64, device="cpu")
        for i, (name, slope) in enumerate(pairs):
            to = moved if slope < 0.0 else fixed
            fixed[i, 1 + CORES.index(name)] = 1.0
            to[i, 0] += 1.0 if slope < 0.0 else slope
            to[i, 1 + CORES.index(name)] -= 1.0 if slope < 0.0 else slope
        self.fixed, self.moved = fixed, moved  # no buffers: a float32 model made float64 would keep float32's 0.01

    @staticmethod
    def expression(z, r):
        """The same for the compiled kernels, of what :meth:`prepared` gives."""
        from taafs_plugins.native.formulas.generate import Formula, mish, sigmoid, tanh

        gelu = r[1] * z * sigmoid(1.5957691216057308 * (z + 0.044715 * z**3))
        near = r[0] * z + gelu + r[2] * tanh(z) + r[3] * z * sigmoid(z) + r[4] * z * mish(z)
        return Formula(guard=z, left=r[0] * z - r[2], near=near, right=(r[0] + r[1] + r[3] + r[4]) * z + r[2])


def member_names(spec: Spec) -> tuple[str, ...]:
    """The members of a spec."""
    return spec.get("members") or SETS[spec.variant or "smooth"]


def member(name: str, slope: float = 0.25) -> FormulaActivation:
    """One member alone, as an AdAct of that member only; ``slope`` for the one whose slope is trained."""
    act = _build(Spec("adact", "smooth", {"members": (name,), "share": "layer", "rate": 1.0}), Place())
    if act.theta_start.numel() > 1:
        act.theta_start[-1] = slope
    return act


def _members(text: str) -> tuple[str, ...]:
    names = tuple(text.split("/"))
    for name in names:
        if name not in MEMBERS:
            raise SpecError(f"Unknown member '{name}' of adact. {nearest(name, list(MEMBERS))}Known: {', '.join(MEMBERS)}.")
    return names


def smoothness(spec: Spec) -> str:
    """That of the least smooth member."""
    return min((SMOOTHNESS.get(MEMBERS[name][0], "analytic") for name in member_names(spec)), default="analytic")


def _build(spec: Spec, place: Place) -> AdAct:
    pairs = [MEMBERS[name] for name in member_names(spec)]
    trained = any(slope < 0.0 for _, slope in pairs)
    act = AdAct(spec, place, torch.tensor([0.0] * len(pairs) + [0.25] * trained, dtype=torch.float64, device="cpu"))
    act.set_members(pairs)
    return act


_OWN = {"members": Key(_members, "names separated by '/', such as gelu/silu/tanh")}
register_family(Family(
    "adact", _build, keys_of("adact", tuple(SETS), _OWN, "neuron"), "smooth", formula="sum_i softmax(w)_i act_i(z)",
    smoothness=smoothness, exact_start=lambda spec: False, neighbour=lambda spec: "adact:smooth",
))  # fmt: skip
