"""Hydra finds this by itself in every Hydra application, SchNetPack's ``spktrain`` among them; it acts only in SchNetPack's."""

import logging
import sys

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class TaafsSearchPath(SearchPathPlugin):
    """Adds the config group ``taafs``, and lets ``activation`` in a model's config be a spec."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra before it composes the config; ``search_path`` is extended in place."""
        if "schnetpack" not in sys.modules:
            return
        from taafs_plugins.adapters import HostError, adapter

        search_path.append(provider="taafs-plugins", path="pkg://taafs_plugins.configs")
        try:
            adapter("schnetpack").register()
        except HostError as error:
            logging.getLogger("taafs_plugins").warning("%s", error)
