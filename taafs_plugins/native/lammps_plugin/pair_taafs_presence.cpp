// Pair style taafs: which atoms are in the structure when LAMMPS hides atoms or pairs.
// Part of taafs-plugins' LAMMPS plugin, under the GNU General Public License version 2 (LICENSE in this folder).

#include "pair_taafs.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "group.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"

#include <algorithm>

using namespace LAMMPS_NS;

namespace {

constexpr int ALL = 1; // the bit of group all

// What decides whether two atoms see each other: type, and the groups that exclusions name. (Molecules: see check_molecules.)
struct Kind {
  int type, bits;
};

bool operator<(const Kind &a, const Kind &b) { return a.type != b.type ? a.type < b.type : a.bits < b.bits; }
bool operator==(const Kind &a, const Kind &b) { return a.type == b.type && a.bits == b.bits; }

// The same rules as in LAMMPS's own lists (NPair::exclusion).
bool sees(const Neighbor *n, const Kind &a, const Kind &b) {
  if (n->nex_type && n->ex_type[a.type][b.type]) return false;
  for (int m = 0; m < n->nex_group; ++m)
    if ((a.bits & n->ex1_bit[m] && b.bits & n->ex2_bit[m]) || (a.bits & n->ex2_bit[m] && b.bits & n->ex1_bit[m])) return false;
  return true;
}

// Hidden from group all. An atom that a fix tries to delete is in no group but the hidden one, so that bits alone do not tell.
bool hidden_from_all(const Neighbor *n, const Kind &a, int include) {
  if (include && !(a.bits & include)) return true;
  for (int m = 0; m < n->nex_group; ++m)
    if ((n->ex1_bit[m] == ALL && a.bits & n->ex2_bit[m]) || (n->ex2_bit[m] == ALL && a.bits & n->ex1_bit[m])) return true;
  return false;
}

std::vector<Kind> sorted(std::vector<Kind> kinds) {
  std::sort(kinds.begin(), kinds.end());
  kinds.erase(std::unique(kinds.begin(), kinds.end()), kinds.end());
  return kinds;
}

// Those of all ranks.
std::vector<Kind> gathered(const std::vector<Kind> &mine, int ranks, MPI_Comm world) {
  int count = 2 * static_cast<int>(mine.size());
  std::vector<int> counts(ranks), starts(ranks, 0);
  MPI_Allgather(&count, 1, MPI_INT, counts.data(), 1, MPI_INT, world);
  for (int r = 1; r < ranks; ++r) starts[r] = starts[r - 1] + counts[r - 1];
  std::vector<Kind> all((starts.back() + counts.back()) / 2);
  MPI_Allgatherv(mine.data(), count, MPI_INT, all.data(), counts.data(), starts.data(), MPI_INT, world);
  return sorted(std::move(all));
}

// Whether those that see each other see the same others: then the model has whole structures, however many.
bool in_whole_parts(const Neighbor *n, const std::vector<Kind> &kinds) {
  std::vector<Kind> heads;
  std::vector<size_t> part;
  for (const Kind &kind : kinds) {
    size_t k = 0;
    while (k < heads.size() && !sees(n, heads[k], kind)) ++k;
    if (k == heads.size()) heads.push_back(kind);
    part.push_back(k);
  }
  for (size_t a = 0; a < kinds.size(); ++a)
    for (size_t b = 0; b <= a; ++b)
      if (sees(n, kinds[a], kinds[b]) != (part[a] == part[b])) return false;
  return true;
}

// Molecules that do not see each other are whole parts if all atoms keep to that; atoms that do not see their own molecule never are.
bool molecules_fit(const Neighbor *n, const std::vector<Kind> &kinds) {
  for (int m = 0; m < n->nex_mol; ++m) {
    const auto in = std::count_if(kinds.begin(), kinds.end(), [&](const Kind &kind) { return kind.bits & n->ex_mol_bit[m]; });
    if (in && (n->ex_mol_intra[m] || in < static_cast<int>(kinds.size()))) return false;
  }
  return true;
}

} // namespace

bool PairTaafs::swaps_types() const {
  for (const char *style : {"atom/swap", "mol/swap", "neighbor/swap", "sgcmc"})
    if (!modify->get_fix_by_style(std::string("^") + style).empty()) return true;
  return false;
}

// Hidden atoms are not in the structure. LAMMPS applies its rules when it builds lists, so they are read then and kept with the lists.
void PairTaafs::who_is_there() {
  const auto all = static_cast<size_t>(atom->nlocal + atom->nghost);
  if (!neighbor->exclude && !neighbor->includegroup) return hidden_.clear();
  if (neighbor->ago && hidden_.size() == all) return;
  if (neighbor->nex_type && swaps_types())
    error->all(FLERR, "Pair style taafs: neigh_modify exclude type cannot follow a fix that changes types; exclude a group instead");
  const int include = neighbor->includegroup ? group->bitmask[neighbor->includegroup] : 0;
  int relevant = include;
  for (int m = 0; m < neighbor->nex_group; ++m) relevant |= neighbor->ex1_bit[m] | neighbor->ex2_bit[m];
  for (int m = 0; m < neighbor->nex_mol; ++m) relevant |= neighbor->ex_mol_bit[m];
  const auto kind = [&](size_t i) { return Kind{atom->type[i], atom->mask[i] & relevant}; };

  std::vector<Kind> mine;
  for (int i = 0; i < atom->nlocal; ++i)
    if (numbers_[atom->type[i]] && !hidden_from_all(neighbor, kind(i), include) && (mine.empty() || !(mine.back() == kind(i)))) mine.push_back(kind(i));
  const auto kinds = gathered(sorted(std::move(mine)), comm->nprocs, world);
  std::vector<Kind> there;
  for (const Kind &a : kinds)
    if (std::any_of(kinds.begin(), kinds.end(), [&](const Kind &b) { return sees(neighbor, a, b); })) there.push_back(a);
  if (!in_whole_parts(neighbor, there) || !molecules_fit(neighbor, there))
    error->all(FLERR, "Pair style taafs: neigh_modify exclude hides pairs of atoms that have neighbors in common, and the model would see a "
                      "structure that is not there; exclude atoms from group all, or parts of the system that never see each other");
  hidden_.resize(all);
  for (size_t i = 0; i < all; ++i) hidden_[i] = !std::binary_search(there.begin(), there.end(), kind(i));
}

// In hybrid styles the list holds the atoms that were the model's when it was built.
void PairTaafs::check_types() {
  int mine = 0;
  for (int ii = 0; ii < list->inum; ++ii) mine += numbers_[atom->type[list->ilist[ii]]] != 0;
  int now = 0;
  for (int i = 0; i < atom->nlocal; ++i) now += numbers_[atom->type[i]] != 0;
  if (mine != list->inum || (now != mine && !neighbor->includegroup))
    error->one(FLERR, "Pair style taafs: a fix gave an atom a type that is another pair style's without new neighbor lists; swap only types "
                      "that are all the model's or none of them");
}
