"""The table of what works where, from the results of the tests: ``python scripts/features_table.py build/tests.xml build/tests-long.xml``.

``make test`` and ``make test-long`` write the results (JUnit's XML). A cell is ``yes`` when every test named for it was run and passed,
``partly`` when some were skipped, **no** when one failed or was not run, and empty when no test of that host says it.
"""

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

HOSTS = {"deepmd": "DeePMD-kit", "chgnet": "CHGNet", "schnetpack": "SchNetPack", "torchani": "TorchANI"}


def suite(test: str) -> dict[str, str]:
    """A test that all hosts inherit from ``HostSuite``."""
    return {host: f"{host}/test_{host}_suite::{test}" for host in HOSTS}


def lammps(test: str, *hosts: str) -> dict[str, str]:
    """A test of ``integration_tests/lammps`` that has the host among its parameters."""
    return {host: f"lammps/{test}[{host}" for host in hosts}


PAGE = "test_a_page_runs_as_it_is_printed_and_leaves_the_tree_clean"

# feature -> host -> where its test stands under integration_tests: file::name, or its beginning
FEATURES: dict[str, dict[str, str]] = {
    "turned on by the config or the builder, counted to the digit": suite("test_conversion_adds_as_many_numbers_as_are_counted"),
    "starts as stock to the last bit; `restore` gives stock back": suite("test_it_starts_at_stock_and_restore"),
    "every coefficient learns from energies alone and from forces alone": suite("test_every_coefficient_gets_a_gradient"),
    "forces are differences of the energy": suite("test_forces_are_differences_of_the_energy"),
    "coefficient files, opened in a fresh process": suite("test_coefficients_come_back_in_a_fresh_process"),
    "state dicts and copies; another spec's is refused": suite("test_a_state_dict_of_another_spec_is_refused"),
    "averages of models (EMA, SWA)": suite("test_averages_of_models"),
    "pickled models": suite("test_a_pickled_model_computes_the_same"),
    "every family, not only `taafs`": suite("test_every_family_can_be_converted_to"),
    "mistakes are refused and change nothing": suite("test_what_is_wrong_is_refused"),
    "`disable` gives stock back": suite("test_disabling_gives_back_stock"),
    "files of version 0.1 open": {host: f"{host}/test_{host}_stored_files::" for host in HOSTS},
    "source patch instead of patching at run time": {host: f"{host}/test_{host}_patch::" for host in ("chgnet", "schnetpack", "torchani")},
    "frozen, deployed or compressed by the host's own command": {
        "deepmd": "deepmd/test_deepmd_compress_command::",
        "schnetpack": "schnetpack/test_schnetpack_deploy::",
    },
    "LAMMPS by the host's own pair style": {"deepmd": "deepmd/test_deepmd_compress_command::test_lammps_repeats_python"},
    "exported for `pair_style taafs`, equal to the host": {
        host: f"lammps/test_export_{host}::test_equal_to_{host}" for host in ("chgnet", "schnetpack", "torchani")
    },
    "LAMMPS gives the host's numbers": lammps("test_hosts_in_lammps::test_equal_to_the_host", "chgnet", "schnetpack", "torchani"),
    "LAMMPS on two ranks": {
        "deepmd": "deepmd/test_deepmd_compress_command::test_lammps_repeats_python[2",
        **lammps("test_hosts_in_lammps::test_two_ranks_are_as_one", "schnetpack", "torchani"),
    },
    "energy conserved in LAMMPS": {
        "deepmd": "deepmd/test_deepmd_md::",
        **lammps("test_nve::test_energy_is_conserved", "chgnet", "schnetpack", "torchani"),
    },
    "an example from data to dynamics": {host: f"{host}/test_{host}_example::" for host in ("deepmd", "chgnet", "schnetpack")},
    "its page of the documentation runs": {
        host: f"pages/{'test_deepmd_page' if host == 'deepmd' else 'test_pages'}::{PAGE}[{host}]" for host in HOSTS
    },
}  # fmt: skip


def results(*reports: Path) -> dict[str, str]:
    """``file::name`` under ``integration_tests`` -> ``passed``, ``skipped`` or ``failed``."""
    found = {}
    for case in (case for report in reports for case in ElementTree.parse(report).iter("testcase")):
        parts = case.get("classname", "").split(".")
        if parts[0] != "integration_tests":
            continue
        modules = [part for part in parts[1:] if not part[:1].isupper()]
        outcomes = {child.tag for child in case}
        outcome = "failed" if outcomes & {"failure", "error"} else "skipped" if "skipped" in outcomes else "passed"
        found[f"{'/'.join(modules)}::{case.get('name')}"] = outcome
    return found


def cell(place: str | None, outcomes: Mapping[str, str]) -> str:
    """What the table says for the tests whose ``file::name`` begins with ``place``."""
    if place is None:
        return ""
    found = {outcome for name, outcome in outcomes.items() if name.startswith(place)}
    if not found or "failed" in found or found == {"skipped"}:
        return "**no**"
    return "yes" if found == {"passed"} else "partly"


def table(outcomes: Mapping[str, str]) -> str:
    """The table in Markdown."""
    lines = ["| | " + " | ".join(HOSTS.values()) + " |", "|---" * (len(HOSTS) + 1) + "|"]
    for feature, places in FEATURES.items():
        lines.append(f"| {feature} | " + " | ".join(cell(places.get(host), outcomes) for host in HOSTS) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(results(*map(Path, sys.argv[1:]))))
