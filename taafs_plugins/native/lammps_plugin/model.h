// An exported model, seen from LAMMPS: no header of torch is needed to use it.
// Part of taafs-plugins' LAMMPS plugin, under the GNU General Public License version 2 (LICENSE in this folder).

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace taafs {

// taafs.json of the file; taafs_plugins/md/contract.py says what each field means.
struct Metadata {
  std::string host, energy_unit, dtype;
  double cutoff = 0, angle_cutoff = 0;
  int hops = 1;
  std::vector<std::string> modes, spec;
  std::vector<int> elements;
  std::map<std::string, std::string> versions;

  bool allows(const std::string &mode) const;
  bool knows(int atomic_number) const;
};

// Atoms and directed pairs of one structure: lengths in Angstrom, r_ij = x_j + offset - x_i. In the order of hops from the owned atoms.
struct Structure {
  std::vector<double> positions;      // 3 per atom
  std::vector<int64_t> elements;      // atomic numbers
  std::vector<int64_t> first, second; // of each pair
  std::vector<double> offsets;        // 3 per pair
  int64_t owned = 0;                  // the energies of the first ones are summed
  std::vector<int64_t> ends;          // how many atoms lie within 0, 1, ... hops; empty where all are owned
  bool angles = false;                // whether there is any angle, on any rank

  void clear();
};

// In the model's unit of energy and Angstrom.
struct Result {
  double energy = 0;
  std::vector<double> energies; // per atom, at least of the owned
  std::vector<double> dpositions; // dE/dx, 3 per atom
  std::vector<double> doffsets;   // dE/d(offset), 3 per pair; empty unless asked for
};

class Model {
 public:
  // device: "auto", "cpu" or "cuda". Throws std::runtime_error with one sentence.
  Model(const std::string &path, const std::string &device, int threads, int rank);
  ~Model();

  const Metadata &metadata() const { return metadata_; }
  std::string device() const;
  // Why the fused operators are not used though the model has them for this device; else empty.
  const std::string &slower() const { return slower_; }
  bool has_magmoms() const;
  Result evaluate(const Structure &structure, bool with_offsets);
  std::vector<double> magmoms(const Structure &structure);

 private:
  struct Torch;
  bool owned_alone(const Structure &structure) const;
  std::unique_ptr<Torch> torch_;
  Metadata metadata_;
  std::string slower_;
};

} // namespace taafs
