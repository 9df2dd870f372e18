// Pair style taafs: models of CHGNet, SchNetPack and TorchANI, exported by taafs-plugins.
// Part of taafs-plugins' LAMMPS plugin, under the GNU General Public License version 2 (LICENSE in this folder).

#pragma once

#include "pair.h"

#include "model.h"

#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class PairTaafs : public Pair {
 public:
  explicit PairTaafs(class LAMMPS *lmp);
  ~PairTaafs() override;

  void settings(int narg, char **arg) override;
  void coeff(int narg, char **arg) override;
  void init_style() override;
  double init_one(int i, int j) override;
  void compute(int eflag, int vflag) override;

  void write_restart(FILE *file) override;
  void read_restart(FILE *file) override;
  void write_restart_settings(FILE *file) override;
  void read_restart_settings(FILE *file) override;

  // ghosts learn the index of the atom they are images of
  int pack_forward_comm(int n, int *atoms, double *buffer, int pbc_flag, int *pbc) override;
  void unpack_forward_comm(int n, int first, double *buffer) override;

  // fix pair: magnetic moments, where the model has them
  void *extract(const char *name, int &dimension) override;
  void *extract_peratom(const char *name, int &columns) override;
  double memory_usage() override;

 private:
  std::string mode_, device_, path_; // mode and device as asked for: "auto" where nothing was said
  std::vector<std::string> names_;   // of the atom types
  std::vector<int> numbers_;         // atomic numbers by type from 1; 0 for NULL
  std::unique_ptr<taafs::Model> model_;
  bool owner_ = true; // the mode that runs
  double to_lammps_ = 1;

  taafs::Structure structure_;
  std::vector<int> atoms_;    // of the structure, as LAMMPS counts them
  std::vector<int> plus_, minus_; // of each pair whose offset is x[plus] - x[minus], as LAMMPS counts atoms
  std::vector<int> images_;       // of LAMMPS's atoms: the first of those that are images of one atom; empty where each is itself
  std::vector<int> position_;     // of those first ones in the structure, or -1
  std::vector<char> hidden_;  // of LAMMPS's atoms: not in the structure; empty where none is
  std::vector<double> owners_, forces_, magmoms_;
  int magmom_flag_ = 0;
  bool has_null_ = false; // in a hybrid style, types that are another style's
  bool trials_ = false;   // a Monte Carlo fix asks for energies of structures that it may refuse
  bigint refused_ = -1;   // the step of the last structure whose energy was not finite

  void allocate();
  void assign(const std::vector<std::string> &names);
  void load(bool must);
  void choose_mode();
  void check_pairs();
  bool swaps_types() const;
  void who_is_there();
  void check_types();
  bool absent(int atom) const;
  void find_images();
  void gather_owner();
  void gather_ghost();
  bool angles_anywhere() const;
  int add(int atom);
  void pair(int first, int second, int plus, int minus);
  bool finite(double energy, int eflag, int vflag);
  void share(const taafs::Result &result);
};

} // namespace LAMMPS_NS
