"""CHGNet models in files."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taafs_plugins.adapters.patching import HostError


def read_model(path: Path, packages: frozenset[str], adapter: Any) -> nn.Module | None:
    """The CHGNet in ``path``, or None when it is none.

    ``Trainer.save``, ``torch.save({"model": model.as_dict()}, path)`` and the shipped files are read without unpickling code; a model
    that was saved whole is unpickled, which runs what the file says: trusted files only.

    Raises
    ------
    HostError
        Weights that do not fit the arguments beside them, or a pickle of something else.
    """
    if "chgnet" in packages:
        found = torch.load(path, map_location="cpu", weights_only=False)
        if isinstance(found, dict):
            found = found.get("model")
        if isinstance(found, nn.Module):
            return found
        if not isinstance(found, dict):
            raise HostError(f"{path} holds a {type(found).__name__}, not a CHGNet; save it with Trainer.save or torch.save(model, path).")
    else:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # some other kind of file
            return None
        found = found.get("model", found) if isinstance(found, dict) else None
    if not (isinstance(found, dict) and {"model_args", "state_dict"} <= set(found)):
        return None
    return _build(found, path, adapter)


def _build(content: dict[str, Any], path: Path, adapter: Any) -> nn.Module:
    from chgnet.model import CHGNet

    arguments, state = dict(content["model_args"]), content["state_dict"]
    # 0.2.0's file leaves it out; CHGNet.load knows it by the name
    arguments.setdefault("mlp_out_bias", any(name.endswith("mlp_out.layers.1.bias") for name in state))
    known = bool(adapter.patches)
    adapter.register()  # the arguments may hold a spec
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return CHGNet.from_dict({"model_args": arguments, "state_dict": state})
    except (KeyError, TypeError, NotImplementedError, RuntimeError) as error:
        raise HostError(f"{path} looks like a CHGNet, but cannot be built ({str(error).splitlines()[0]}).") from None
    finally:
        if not known:
            adapter.unregister()
