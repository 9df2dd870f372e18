"""Real data for this example: rMD17 ethanol as the database that `spktrain experiment=rmd17` reads, and one molecule to start from."""

import numpy as np
from ase import Atoms
from ase.io import write

from taafs_plugins import data
from taafs_plugins.adapters.schnetpack.data import FILES, rmd17_database

print(rmd17_database("data", "ethanol"))
frames = np.load(data.fetch(FILES.format(molecule="ethanol", part="test")))
write("start.xyz", Atoms(frames["nuclear_charges"], frames["coords"][0]))
