"""Hosts where a study found no gain say so once, in one line, when a spec is used in their config; other ways are silent."""

import logging
import sys
from pathlib import Path

import pytest

import taafs_plugins as taafs

sys.path.insert(0, str(Path(__file__).parent / "schnetpack"))


@pytest.fixture
def said(caplog, monkeypatch):
    """What was logged of it, with a process that has not said it yet."""
    for host in taafs.adapters.hosts():
        monkeypatch.setattr(taafs.adapter(host), "_cautioned", False)
    caplog.set_level(logging.WARNING, "taafs_plugins")
    return lambda: [record.message for record in caplog.records if "taafs recipe" in record.message]


def test_schnetpack_says_it_once_for_a_spec_in_the_config_and_never_for_a_conversion(said):
    import schnetpack_helpers

    taafs.convert(schnetpack_helpers.potential(), "taafs:chebyshev1")
    assert said() == []
    taafs.enable("schnetpack")
    try:
        schnetpack_helpers.potential(activation="taafs:chebyshev1")
        schnetpack_helpers.potential(activation="taafs:bspline")
    finally:
        taafs.disable("schnetpack")
    (line,) = said()
    assert "did not help PaiNN" in line and line.endswith("See: taafs recipe schnetpack.") and "\n" not in line


def test_chgnet_says_it_once_for_a_new_network_and_never_for_a_stored_one(said):
    from chgnet.model import CHGNet

    taafs.enable("chgnet")
    try:
        small = {"atom_fea_dim": 8, "bond_fea_dim": 8, "angle_fea_dim": 8, "n_conv": 2, "mlp_hidden_dims": (8, 8)}
        model = CHGNet(non_linearity="taafs:chebyshev1", **small)
        (line,) = said()
        assert "all weights are trained" in line and line.endswith("See: taafs recipe chgnet.")
        taafs.adapter("chgnet")._cautioned = False
        CHGNet.from_dict(model.as_dict())
        assert len(said()) == 1
    finally:
        taafs.disable("chgnet")
