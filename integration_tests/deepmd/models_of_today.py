"""Inputs of DeePMD-kit's newer models, after upstream's own examples, shrunk so that each trains, freezes and runs in about a second."""

import copy
import json
from pathlib import Path

import numpy as np

SPEC = "taafs:bspline"
ATOMS = 8
TYPES = [0, 1, 1, 0, 1, 1, 0, 1]
CELL = 13.0
FRAMES = 4
RADII = {"type": "se_e2_r", "rcut": 4.0, "rcut_smth": 0.5, "sel": [8, 12], "neuron": [3, 6], "seed": 1, "activation_function": SPEC}
FITTING = {"neuron": [6, 6], "seed": 1, "activation_function": SPEC}
ENERGY = {"type": "ener", "start_pref_e": 1.0, "limit_pref_e": 1.0, "start_pref_f": 1.0, "limit_pref_f": 1.0}
TABLE = "pairs.txt"

# examples/water/dpa2/input_torch_small.json
DPA2 = {
    "type": "dpa2",
    "repinit": {"tebd_dim": 2, "rcut": 4.0, "rcut_smth": 0.5, "nsel": 12, "neuron": [3, 6], "axis_neuron": 2, "activation_function": SPEC,
                "three_body_sel": 6, "three_body_rcut": 3.0, "three_body_rcut_smth": 2.5, "use_three_body": True},
    "repformer": {"rcut": 3.0, "rcut_smth": 2.5, "nsel": 6, "nlayers": 1, "g1_dim": 6, "g2_dim": 4, "attn2_hidden": 4, "attn2_nhead": 2,
                  "attn1_hidden": 4, "attn1_nhead": 2, "axis_neuron": 2, "activation_function": SPEC, "update_h2": False,
                  "update_g1_has_conv": True, "update_g1_has_grrg": True, "update_g1_has_drrd": True, "update_g1_has_attn": False,
                  "update_g2_has_g1g1": False, "update_g2_has_attn": False, "update_style": "res_residual", "update_residual": 0.01,
                  "update_residual_init": "norm", "attn2_has_gate": True, "use_sqrt_nnei": True, "g1_out_conv": True, "g1_out_mlp": True},
    "precision": "float64", "add_tebd_to_repinit_out": False, "seed": 1,
}  # fmt: skip
# examples/water/dpa3/input_torch.json
SILUT = "taafs:bspline,base=silut:10.0"
DPA3 = {
    "type": "dpa3",
    "repflow": {"n_dim": 6, "e_dim": 6, "a_dim": 4, "nlayers": 2, "e_rcut": 4.0, "e_rcut_smth": 3.3, "e_sel": 12, "a_rcut": 3.0,
                "a_rcut_smth": 2.5, "a_sel": 6, "axis_neuron": 2, "fix_stat_std": 0.3, "a_compress_rate": 1, "a_compress_e_rate": 2,
                "a_compress_use_split": True, "update_angle": True, "smooth_edge_update": True, "edge_init_use_dist": True,
                "use_exp_switch": True, "update_style": "res_residual", "update_residual": 0.1, "update_residual_init": "const"},
    "activation_function": SILUT, "use_tebd_bias": False, "precision": "float64", "concat_output_tebd": False, "seed": 1,
}  # fmt: skip
# examples/property/train/input_torch.json
DPA1 = {"type": "dpa1", "sel": 12, "rcut_smth": 0.5, "rcut": 4.0, "neuron": [3, 6], "tebd_dim": 2, "axis_neuron": 2, "type_one_side": True,
        "attn": 4, "attn_layer": 0, "attn_dotr": True, "attn_mask": False, "activation_function": SPEC, "scaling_factor": 1.0,
        "normalize": True, "temperature": 1.0, "seed": 1}  # fmt: skip
ANGLES = {"type": "se_e2_a", "sel": [8, 12], "rcut_smth": 0.5, "rcut": 4.0, "neuron": [3, 6], "axis_neuron": 2, "seed": 1,
          "activation_function": SPEC}  # fmt: skip


def part(descriptor: dict, **fitting) -> dict:
    """A standard model, or one of a sum."""
    return {"type_map": ["O", "H"], "descriptor": descriptor, "fitting_net": {**FITTING, **fitting}}


# name -> (model section, loss)
MODELS = {
    "dpa2": (part(DPA2), ENERGY),
    "dpa3": (part(DPA3, activation_function=SILUT), ENERGY),
    "property": (part(DPA1, type="property", intensive=True, task_dim=3, property_name="band_prop"),
                 {"type": "property", "metric": ["mae"], "loss_func": "smooth_mae", "beta": 1.0}),
    # examples/spin/se_e2_a/input_torch.json
    "spin": ({**part({**ANGLES, "type_one_side": True}), "spin": {"use_spin": [True, False], "virtual_scale": [0.314]}},
             {"type": "ener_spin", "start_pref_e": 1, "limit_pref_e": 1, "start_pref_fr": 1, "limit_pref_fr": 1, "start_pref_fm": 1,
              "limit_pref_fm": 1}),
    # examples/water/zbl/input.json
    "zbl": ({**part(DPA1), "use_srtab": TABLE, "smin_alpha": 0.1, "sw_rmin": 0.8, "sw_rmax": 1.7}, ENERGY),
    # examples/water/linear/input_pt.json
    "linear_ener": ({"type": "linear_ener", "weights": "mean", "type_map": ["O", "H"],
                     "models": [part(DPA1), part({**DPA1, "rcut": 3.0, "sel": 8})]}, ENERGY),
    "fparam and aparam": (part(RADII, numb_fparam=2, numb_aparam=1), ENERGY),
    "default_fparam": (part(RADII, numb_fparam=2, default_fparam=[0.3, -0.2]), ENERGY),
    "hessian": (part(RADII), {**ENERGY, "start_pref_h": 1.0, "limit_pref_h": 1.0}),
}  # fmt: skip


def write_system(folder: Path) -> Path:
    """Four frames of eight atoms with made-up labels of every kind: what is tested is the path, not the physics."""
    rng = np.random.default_rng(0)
    part = folder / "system" / "set.000"
    part.mkdir(parents=True)
    (part.parent / "type.raw").write_text("\n".join(map(str, TYPES)))
    (part.parent / "type_map.raw").write_text("O\nH\n")
    grid = 4.0 + 1.6 * np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    coord = grid + 0.2 * rng.random((FRAMES, ATOMS, 3))
    sizes = {"energy": 1, "force": 3 * ATOMS, "force_mag": 3 * ATOMS, "spin": 3 * ATOMS, "band_prop": 3, "fparam": 2, "aparam": ATOMS,
             "hessian": 9 * ATOMS**2}  # fmt: skip
    arrays = {name: rng.normal(size=(FRAMES, size)) for name, size in sizes.items()}
    arrays |= {"coord": coord.reshape(FRAMES, -1), "box": np.tile((CELL * np.eye(3)).ravel(), (FRAMES, 1))}
    for name, array in arrays.items():
        np.save(part / f"{name}.npy", array)
    r = np.arange(0.0, 4.001, 0.05)
    np.savetxt(folder / TABLE, np.stack([r, *(np.exp(-r) * scale for scale in (1.0, 2.0, 3.0))], -1)[1:])
    return part.parent


def write_input(folder: Path, name: str, steps: int = 2) -> dict:
    """``input.json`` of a model, with its system, in a folder of its own."""
    model, loss = copy.deepcopy(MODELS[name])
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model": model, "loss": loss, "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-4, "decay_steps": 10},
        "training": {"training_data": {"systems": [str(write_system(folder))], "batch_size": 1}, "numb_steps": steps, "seed": 1,
                     "disp_freq": 100, "save_freq": steps},
    }  # fmt: skip
    (folder / "input.json").write_text(json.dumps(config))
    return config
