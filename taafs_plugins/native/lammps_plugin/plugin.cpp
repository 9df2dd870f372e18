// Tells LAMMPS about pair style taafs.
// Part of taafs-plugins' LAMMPS plugin, under the GNU General Public License version 2 (LICENSE in this folder).

#include "lammpsplugin.h"

#include "pair_taafs.h"

static void *pair_taafs(void *lmp) { return new LAMMPS_NS::PairTaafs(static_cast<LAMMPS_NS::LAMMPS *>(lmp)); }

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle, void *regfunc) {
  lammpsplugin_t plugin;
  plugin.version = TAAFS_LAMMPS_VERSION;
  plugin.style = "pair";
  plugin.name = "taafs";
  plugin.info = "models exported by taafs-plugins";
  plugin.author = "taafs-plugins";
  plugin.creator.v1 = &pair_taafs;
  plugin.handle = handle;
  reinterpret_cast<lammpsplugin_regfunc>(regfunc)(&plugin, lmp);
}
