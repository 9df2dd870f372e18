// Pair style taafs: what is asked for in the input script, checks, modes.
// Part of taafs-plugins' LAMMPS plugin, under the GNU General Public License version 2 (LICENSE in this folder).

#include "pair_taafs.h"

#include "units.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "modify.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

using namespace LAMMPS_NS;

PairTaafs::PairTaafs(LAMMPS *lmp) : Pair(lmp), mode_("auto"), device_("auto") {
  if (lmp->num_ver != TAAFS_LAMMPS_NUMBER)
    error->all(FLERR, "The taafs plugin was built for LAMMPS {}; build it for this one with 'taafs lammps build'", TAAFS_LAMMPS_VERSION);
  single_enable = 0;
  restartinfo = 1;
  one_coeff = 1;
  manybody_flag = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
  unit_convert_flag = 0;
  comm_forward = 1;
}

PairTaafs::~PairTaafs() {
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairTaafs::allocate() {
  if (allocated) return;
  const int n = atom->ntypes;
  memory->create(setflag, n + 1, n + 1, "pair:setflag");
  memory->create(cutsq, n + 1, n + 1, "pair:cutsq");
  for (int i = 0; i <= n; ++i)
    for (int j = 0; j <= n; ++j) setflag[i][j] = 0;
  allocated = 1;
}

void PairTaafs::settings(int narg, char **arg) {
  mode_ = device_ = "auto";
  for (int i = 0; i < narg; ++i) {
    const std::string word = arg[i];
    if (word == "owner" || word == "ghost") {
      mode_ = word;
    } else if (word == "device" && i + 1 < narg && (std::string(arg[i + 1]) == "cpu" || std::string(arg[i + 1]) == "cuda")) {
      device_ = arg[++i];
    } else {
      error->all(FLERR, "Pair style taafs does not know '{}'; it takes: [owner|ghost] [device cpu|cuda]", word);
    }
  }
  if (taafs::energy_factor("eV", update->unit_style) == 0)
    error->all(FLERR, "Pair style taafs runs in units metal or real, not {}", update->unit_style);
}

// pair_coeff * * model.pt Na Cl
void PairTaafs::coeff(int narg, char **arg) {
  if (narg < 3 || std::string(arg[0]) != "*" || std::string(arg[1]) != "*")
    error->all(FLERR, "Pair style taafs takes: pair_coeff * * model.pt and one element per atom type");
  if (narg - 3 != atom->ntypes)
    error->all(FLERR, "pair_coeff of pair style taafs names {} elements for {} atom types", narg - 3, atom->ntypes);
  path_ = arg[2];
  if (char *absolute = realpath(arg[2], nullptr)) { // a restart may be read in another folder
    path_ = absolute;
    free(absolute);
  }
  load(true);
  assign(std::vector<std::string>(arg + 3, arg + narg));
}

void PairTaafs::assign(const std::vector<std::string> &names) {
  allocate();
  names_ = names;
  numbers_.assign(atom->ntypes + 1, 0);
  has_null_ = std::find(names.begin(), names.end(), "NULL") != names.end();
  for (int type = 1; type <= atom->ntypes; ++type) {
    const std::string &name = names_[type - 1];
    if (name == "NULL") {
      if (!utils::strmatch(force->pair_style, "^hybrid"))
        error->all(FLERR, "Pair style taafs: NULL is only for pair style hybrid; name an element for every atom type");
      continue;
    }
    const int number = taafs::atomic_number(name);
    if (number == 0) error->all(FLERR, "pair_coeff of pair style taafs: '{}' is not an element", name);
    if (model_ && !model_->metadata().knows(number)) {
      std::string known;
      for (const int z : model_->metadata().elements) known += " " + taafs::symbol(z);
      error->all(FLERR, "The model {} does not know {}; it knows{}", path_, name, known);
    }
    numbers_[type] = number;
  }
  for (int i = 1; i <= atom->ntypes; ++i)
    for (int j = i; j <= atom->ntypes; ++j) setflag[i][j] = numbers_[i] && numbers_[j];
}

// All ranks load or all stop. A restart's model may be somewhere else today: pair_coeff can still name it, hence "must".
void PairTaafs::load(bool must) {
  std::string message;
  try {
    model_ = std::make_unique<taafs::Model>(path_, device_, comm->nthreads, comm->me);
  } catch (const std::exception &failure) {
    model_.reset();
    message = failure.what();
  }
  int mine = model_ ? comm->nprocs : comm->me, first = 0;
  MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, world);
  if (first < comm->nprocs) {
    int length = static_cast<int>(message.size());
    MPI_Bcast(&length, 1, MPI_INT, first, world);
    message.resize(length);
    MPI_Bcast(message.data(), length, MPI_CHAR, first, world);
    model_.reset();
    if (must) error->all(FLERR, "Pair style taafs: {}", message);
    if (comm->me == 0) error->warning(FLERR, "Pair style taafs: {}; name the model by pair_coeff before the run", message);
    return;
  }
  to_lammps_ = taafs::energy_factor(model_->metadata().energy_unit, update->unit_style);
  choose_mode();
  if (comm->me == 0)
    utils::logmesg(lmp, "Pair style taafs: {} model of {}, cutoff {} A, {} mode, {}, on {}\n", model_->metadata().spec.empty() ? "stock" : "TAAFS",
                   model_->metadata().host, model_->metadata().cutoff, owner_ ? "owner" : "ghost", model_->metadata().dtype, model_->device());
  if (comm->me == 0 && !model_->slower().empty())
    error->warning(FLERR, "Pair style taafs: slower without the fused operators, as {}; run 'taafs lammps build', or 'taafs export', again", model_->slower());
}

void PairTaafs::choose_mode() {
  const auto &metadata = model_->metadata();
  std::string mode = mode_;
  if (mode == "auto") mode = comm->nprocs == 1 && metadata.allows("owner") ? "owner" : "ghost";
  if (mode == "owner" && comm->nprocs > 1) error->all(FLERR, "Mode owner of pair style taafs runs on one rank, not on {}", comm->nprocs);
  if (!metadata.allows(mode)) {
    if (mode == "ghost" && comm->nprocs > 1)
      error->all(FLERR, "This model of {} runs on one rank, not on {}: it allows mode owner only; export it again by this version, or start one rank",
                 metadata.host, comm->nprocs);
    error->all(FLERR, "This model of {} does not allow mode {}", metadata.host, mode);
  }
  owner_ = mode == "owner";
}

void PairTaafs::init_style() {
  if (!model_) error->all(FLERR, "Pair style taafs has no model; name it by pair_coeff");
  if (force->newton_pair == 0) error->all(FLERR, "Pair style taafs needs newton on: forces on ghost atoms are sent to their owners");
  check_pairs();
  refused_ = -1;
  trials_ = swaps_types();
  for (const char *style : {"^gcmc", "^widom", "^charge/regulation"}) trials_ |= !modify->get_fix_by_style(style).empty();
  if (owner_) {
    neighbor->add_request(this, NeighConst::REQ_FULL);
    return;
  }
  const int hops = model_->metadata().hops;
  // rows of ghosts are needed only where an owned atom's energy looks further than its own pairs
  neighbor->add_request(this, hops > 1 ? NeighConst::REQ_FULL | NeighConst::REQ_GHOST : NeighConst::REQ_FULL);
  if (hops == 1) return;
  const double needed = hops * model_->metadata().cutoff + neighbor->skin;
  if (comm->mode != 0) error->all(FLERR, "Mode ghost of pair style taafs needs comm_modify mode single");
  if (comm->style == Comm::TILED)
    for (int d = 0; d < domain->dimension; ++d)
      if (domain->periodicity[d] && needed > domain->prd[d])
        error->all(FLERR, "Mode ghost of pair style taafs needs ghosts as far as {} A, further than comm_style tiled reaches in this box; use comm_style "
                          "brick, or a longer box", needed);
  if (comm->cutghostuser < needed) {
    comm->cutghostuser = needed;
    if (comm->me == 0)
      utils::logmesg(lmp, "Pair style taafs: communication cutoff {} A ({} times the model's cutoff, and the skin)\n", needed, hops);
  }
}

// The model must see every pair: a list with pairs left out gives another potential. neigh_modify exclude: who_is_there.
void PairTaafs::check_pairs() {
  if (atom->molecular != Atom::ATOMIC)
    for (int k = 1; k < 4; ++k)
      if (force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
        error->all(FLERR, "Pair style taafs needs bonded atoms in the list of pairs; set: special_bonds lj/coul 1.0 1.0 1.0");
}

double PairTaafs::init_one(int, int) { return model_->metadata().cutoff; }

static void put(const std::string &text, FILE *file) {
  const int length = static_cast<int>(text.size());
  fwrite(&length, sizeof(int), 1, file);
  fwrite(text.data(), 1, length, file);
}

static std::string get(FILE *file, int me, MPI_Comm world, Error *error) {
  int length = 0;
  if (me == 0) utils::sfread(FLERR, &length, sizeof(int), 1, file, nullptr, error);
  MPI_Bcast(&length, 1, MPI_INT, 0, world);
  std::string text(length, ' ');
  if (me == 0 && length) utils::sfread(FLERR, text.data(), 1, length, file, nullptr, error);
  MPI_Bcast(text.data(), length, MPI_CHAR, 0, world);
  return text;
}

void PairTaafs::write_restart_settings(FILE *file) {
  put(mode_, file);
  put(device_, file);
}

void PairTaafs::read_restart_settings(FILE *file) {
  mode_ = get(file, comm->me, world, error);
  device_ = get(file, comm->me, world, error);
}

void PairTaafs::write_restart(FILE *file) {
  write_restart_settings(file);
  put(path_, file);
  for (const auto &name : names_) put(name, file);
}

void PairTaafs::read_restart(FILE *file) {
  read_restart_settings(file);
  path_ = get(file, comm->me, world, error);
  std::vector<std::string> names;
  for (int type = 0; type < atom->ntypes; ++type) names.push_back(get(file, comm->me, world, error));
  load(false);
  assign(names);
}

void *PairTaafs::extract(const char *name, int &dimension) {
  dimension = 0;
  return std::string(name) == "magmom_flag" && model_ && model_->has_magmoms() ? &magmom_flag_ : nullptr;
}

void *PairTaafs::extract_peratom(const char *name, int &columns) {
  columns = 0;
  if (std::string(name) != "magmom" || !model_ || !model_->has_magmoms()) return nullptr;
  magmoms_.resize(atom->nmax, 0.0);
  return magmoms_.data();
}

double PairTaafs::memory_usage() {
  const auto pairs = static_cast<double>(structure_.first.capacity());
  return Pair::memory_usage() + pairs * (2 * sizeof(int64_t) + 3 * sizeof(double)) + 3.0 * static_cast<double>(forces_.capacity()) * sizeof(double);
}
