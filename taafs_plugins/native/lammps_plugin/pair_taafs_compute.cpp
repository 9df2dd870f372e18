// Pair style taafs: atoms and pairs out of LAMMPS, energies, forces and virial back.
// Part of taafs-plugins' LAMMPS plugin, under the GNU General Public License version 2 (LICENSE in this folder).

#include "pair_taafs.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "neigh_list.h"
#include "update.h"

#include <cmath>
#include <stdexcept>

using namespace LAMMPS_NS;

[[noreturn]] static void not_finite(Error *error, bigint step) {
  error->one(FLERR, "Pair style taafs: the energy is not finite at step {}; the structure has left what the model can describe", step);
}

bool PairTaafs::absent(int a) const { return !numbers_[atom->type[a]] || (!hidden_.empty() && hidden_[a]); }

// The structure's number of an atom, which joins it if it is new.
int PairTaafs::add(int a) {
  if (position_[a] < 0) {
    position_[a] = static_cast<int>(atoms_.size());
    atoms_.push_back(a);
    structure_.elements.push_back(numbers_[atom->type[a]]);
    for (int d = 0; d < 3; ++d) structure_.positions.push_back(atom->x[a][d]);
  }
  return position_[a];
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
      structure_.first.push_back(position_[i]);
      structure_.second.push_back(position_[owner]);
      for (int d = 0; d < 3; ++d) structure_.offsets.push_back(x[j][d] - x[owner][d]);
      ghosts_.push_back(j);
    }
  }
}

// Ghosts are atoms: outwards from the owned ones, hop by hop, each pair in both directions.
void PairTaafs::gather_ghost() {
  const double cutoff2 = model_->metadata().cutoff * model_->metadata().cutoff;
  double **x = atom->x;
  size_t begin = 0;
  for (int hop = 0; hop < model_->metadata().hops; ++hop) {
    const size_t end = atoms_.size(); // what joins from here on is a hop further
    for (size_t ii = begin; ii < end; ++ii) {
      const int i = atoms_[ii];
      for (int jj = 0; jj < list->numneigh[i]; ++jj) {
        const int j = list->firstneigh[i][jj] & NEIGHMASK;
        const double dx = x[j][0] - x[i][0], dy = x[j][1] - x[i][1], dz = x[j][2] - x[i][2];
        if (dx * dx + dy * dy + dz * dz > cutoff2 || absent(j)) continue;
        const int other = add(j);
        structure_.first.push_back(position_[i]);
        structure_.second.push_back(other);
        if (static_cast<size_t>(other) >= end && hop + 1 == model_->metadata().hops) { // its own pairs are not looked at
          structure_.first.push_back(other);
          structure_.second.push_back(position_[i]);
        }
      }
    }
    begin = end;
  }
  structure_.offsets.assign(3 * structure_.first.size(), 0.0);
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
  ghosts_.clear();
  position_.assign(all, -1);
  for (int i = 0; i < atom->nlocal; ++i)
    if (!absent(i)) add(i);
  structure_.owned = static_cast<int64_t>(atoms_.size());
  if (owner_) {
    owners_.resize(all);
    comm->forward_comm(this);
    gather_owner();
  } else {
    gather_ghost();
  }
  if (magmom_flag_) magmoms_.assign(atom->nmax, 0.0);
  if (structure_.owned) {
    taafs::Result result;
    std::vector<double> moments;
    try {
      result = model_->evaluate(structure_, owner_);
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
  for (size_t p = 0; p < ghosts_.size(); ++p) { // d(offset) = d(ghost) - d(owner)
    const int ghost = ghosts_[p], owner = atoms_[structure_.second[p]];
    if (ghost == owner) continue;
    for (int d = 0; d < 3; ++d) {
      const double g = to_lammps_ * result.doffsets[3 * p + d];
      forces_[3 * ghost + d] -= g;
      forces_[3 * owner + d] += g;
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
  for (int k = 0; k < n; ++k) buffer[k] = atoms[k] < atom->nlocal ? atoms[k] : owners_[atoms[k]];
  return n;
}

void PairTaafs::unpack_forward_comm(int n, int first, double *buffer) {
  for (int k = 0; k < n; ++k) owners_[first + k] = buffer[k];
}
