// Pair style taafs: atoms and pairs out of LAMMPS, energies, forces and virial back.
// Part of taafs-plugins' LAMMPS plugin, under the GNU General Public License version 2 (LICENSE in this folder).

#include "pair_taafs.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "neigh_list.h"
#include "update.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <unordered_map>

using namespace LAMMPS_NS;

static constexpr int64_t RANK = int64_t(1) << 31; // more atoms than a rank can own; exact in a double for four million ranks

[[noreturn]] static void not_finite(Error *error, bigint step) {
  error->one(FLERR, "Pair style taafs: the energy is not finite at step {}; the structure has left what the model can describe", step);
}

bool PairTaafs::absent(int a) const { return !numbers_[atom->type[a]] || (!hidden_.empty() && hidden_[a]); }

// The structure's number of an atom, which joins it if neither it nor an image of it is there.
int PairTaafs::add(int a) {
  int &position = position_[images_.empty() ? a : images_[a]];
  if (position < 0) {
    position = static_cast<int>(atoms_.size());
    atoms_.push_back(a);
    structure_.elements.push_back(numbers_[atom->type[a]]);
    for (int d = 0; d < 3; ++d) structure_.positions.push_back(atom->x[a][d]);
  }
  return position;
}

void PairTaafs::pair(int first, int second, int plus, int minus) {
  structure_.first.push_back(first);
  structure_.second.push_back(second);
  for (int d = 0; d < 3; ++d) structure_.offsets.push_back(atom->x[plus][d] - atom->x[minus][d]);
  plus_.push_back(plus);
  minus_.push_back(minus);
}

// Ghosts tell which rank's atom they are an image of.
void PairTaafs::find_images() {
  const int all = atom->nlocal + atom->nghost;
  images_.clear();
  if (!model_->metadata().allows("owner")) return;
  owners_.resize(all);
  comm->forward_comm(this);
  if (owner_) return;
  images_.resize(all);
  std::unordered_map<int64_t, int> met; // atoms of other ranks
  const int64_t begin = RANK * comm->me;
  for (int a = 0; a < all; ++a) {
    const auto own = static_cast<int64_t>(owners_[a]) - begin;
    images_[a] = a < atom->nlocal ? a : own >= 0 && own < atom->nlocal ? static_cast<int>(own) : met.emplace(own, a).first->second;
  }
}

// Ghosts are images: pairs end at the atom itself, and the offset leads to the image.
void PairTaafs::gather_owner() {
  const double cutoff2 = model_->metadata().cutoff * model_->metadata().cutoff;
  double **x = atom->x;
  for (int ii = 0; ii < list->inum; ++ii) {
    const int i = list->ilist[ii];
    if (position_[i] < 0) continue;
    for (int jj = 0; jj < list->numneigh[i]; ++jj) {
      const int j = list->firstneigh[i][jj] & NEIGHMASK;
      const double dx = x[j][0] - x[i][0], dy = x[j][1] - x[i][1], dz = x[j][2] - x[i][2];
      if (dx * dx + dy * dy + dz * dz > cutoff2 || absent(j)) continue;
      const int owner = j < atom->nlocal ? j : static_cast<int>(owners_[j]);
      pair(position_[i], position_[owner], j, owner);
    }
  }
}

// Outwards from the owned atoms, hop by hop, each pair in both directions. An image of an atom that is there is that atom with an offset.
void PairTaafs::gather_ghost() {
  const double cutoff2 = model_->metadata().cutoff * model_->metadata().cutoff;
  double **x = atom->x;
  const int hops = model_->metadata().hops;
  std::vector<std::array<int, 3>> outside; // pairs of the last atoms, whose own pairs are not looked at: first, second, j
  structure_.ends.push_back(structure_.owned);
  for (int hop = 0; hop < hops; ++hop) {
    const size_t begin = hop ? structure_.ends[hop - 1] : 0, end = atoms_.size(); // what joins from here on is a hop further
    for (size_t ii = begin; ii < end; ++ii) {
      const int i = atoms_[ii];
      for (int jj = 0; jj < list->numneigh[i]; ++jj) {
        const int j = list->firstneigh[i][jj] & NEIGHMASK;
        const double dx = x[j][0] - x[i][0], dy = x[j][1] - x[i][1], dz = x[j][2] - x[i][2];
        if (dx * dx + dy * dy + dz * dz > cutoff2 || absent(j)) continue;
        const int other = add(j);
        pair(static_cast<int>(ii), other, j, atoms_[other]);
        if (static_cast<size_t>(other) >= end && hop + 1 == hops) outside.push_back({other, static_cast<int>(ii), j});
      }
    }
    structure_.ends.push_back(static_cast<int64_t>(atoms_.size()));
  }
  for (const auto &[other, ii, j] : outside) pair(other, ii, atoms_[other], j);
}

// Whether an atom of any rank has two short pairs.
bool PairTaafs::angles_anywhere() const {
  const double cutoff2 = model_->metadata().angle_cutoff * model_->metadata().angle_cutoff;
  double **x = atom->x;
  int mine = 0, any = 0;
  for (int64_t ii = 0; ii < structure_.owned && mine < 2; ++ii) {
    const int i = atoms_[ii];
    mine = 0;
    for (int jj = 0; jj < list->numneigh[i] && mine < 2; ++jj) {
      const int j = list->firstneigh[i][jj] & NEIGHMASK;
      const double dx = x[j][0] - x[i][0], dy = x[j][1] - x[i][1], dz = x[j][2] - x[i][2];
      mine += dx * dx + dy * dy + dz * dz < cutoff2 && !absent(j);
    }
  }
  MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, world);
  return any > 1;
}

void PairTaafs::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  if (vflag_atom || cvflag_atom)
    error->all(FLERR, "Pair style taafs has no per-atom stress; the pressure of the whole box (compute pressure) is there");
  if (refused_ >= 0 && refused_ != update->ntimestep) not_finite(error, refused_);
  const int all = atom->nlocal + atom->nghost;
  who_is_there();
  if (has_null_) check_types();
  structure_.clear();
  atoms_.clear();
  plus_.clear();
  minus_.clear();
  position_.assign(all, -1);
  find_images();
  for (int i = 0; i < atom->nlocal; ++i)
    if (!absent(i)) add(i);
  structure_.owned = static_cast<int64_t>(atoms_.size());
  if (owner_) {
    gather_owner();
  } else {
    gather_ghost();
    if (model_->metadata().angle_cutoff > 0) structure_.angles = angles_anywhere();
  }
  if (magmom_flag_) magmoms_.assign(atom->nmax, 0.0);
  if (structure_.owned) {
    taafs::Result result;
    const bool any_offset = !std::equal(plus_.begin(), plus_.end(), minus_.begin());
    std::vector<double> moments;
    try {
      result = model_->evaluate(structure_, any_offset);
      if (magmom_flag_) moments = model_->magmoms(structure_);
    } catch (const std::exception &failure) {
      const std::string text = failure.what();
      error->one(FLERR, "Pair style taafs: the model failed ({})", text.substr(0, text.find('\n')));
    }
    if (finite(result.energy, eflag, vflag)) share(result);
    for (size_t k = 0; k < moments.size() && static_cast<int64_t>(k) < structure_.owned; ++k) magmoms_[atoms_[k]] = moments[k];
  }
  if (vflag_fdotr) virial_fdotr_compute();
}

// Monte Carlo refuses a structure by its energy: infinite, as that of atoms on top of each other. Fixes ask as (1, 0); a time step that asks the
// same way is told from a trial by what follows: a refused structure is never the last one of its step.
bool PairTaafs::finite(double energy, int eflag, int vflag) {
  if (std::isfinite(energy)) {
    refused_ = -1;
    return true;
  }
  if (!trials_ || eflag != 1 || vflag) not_finite(error, update->ntimestep);
  refused_ = update->ntimestep;
  eng_vdwl += INFINITY;
  return false;
}

// Forces on atoms and ghosts, so that their sum over x f is the virial, and reverse communication makes the forces whole.
void PairTaafs::share(const taafs::Result &result) {
  double **x = atom->x, **f = atom->f;
  forces_.assign(3 * position_.size(), 0.0);
  for (size_t k = 0; k < atoms_.size(); ++k)
    for (int d = 0; d < 3; ++d) forces_[3 * atoms_[k] + d] = -to_lammps_ * result.dpositions[3 * k + d];
  for (size_t p = 0; p < result.doffsets.size() / 3; ++p) {
    if (plus_[p] == minus_[p]) continue;
    for (int d = 0; d < 3; ++d) {
      const double g = to_lammps_ * result.doffsets[3 * p + d];
      forces_[3 * plus_[p] + d] -= g;
      forces_[3 * minus_[p] + d] += g;
    }
  }
  double w[6] = {0, 0, 0, 0, 0, 0};
  for (size_t i = 0; i < position_.size(); ++i) {
    const double *g = &forces_[3 * i];
    for (int d = 0; d < 3; ++d) f[i][d] += g[d];
    w[0] += x[i][0] * g[0], w[1] += x[i][1] * g[1], w[2] += x[i][2] * g[2];
    w[3] += x[i][1] * g[0], w[4] += x[i][2] * g[0], w[5] += x[i][2] * g[1];
  }
  if (vflag_global)
    for (int k = 0; k < 6; ++k) virial[k] += w[k];
  if (eflag_global) eng_vdwl += to_lammps_ * result.energy;
  if (eflag_atom)
    for (int64_t k = 0; k < structure_.owned; ++k) eatom[atoms_[k]] += to_lammps_ * result.energies[k];
}

int PairTaafs::pack_forward_comm(int n, int *atoms, double *buffer, int, int *) {
  for (int k = 0; k < n; ++k) buffer[k] = atoms[k] < atom->nlocal ? RANK * comm->me + atoms[k] : owners_[atoms[k]];
  return n;
}

void PairTaafs::unpack_forward_comm(int n, int first, double *buffer) {
  for (int k = 0; k < n; ++k) owners_[first + k] = buffer[k];
}
