// Elements and units of energy.
// Part of taafs-plugins' LAMMPS plugin, under the GNU General Public License version 2 (LICENSE in this folder).

#pragma once

#include <string>

namespace taafs {

// Exact in the SI of 2019: e N_A / 4184; the Hartree energy of CODATA 2018. taafs_plugins/md/units.py holds the same numbers.
constexpr double KCAL_PER_EV = 23.06054783061903;
constexpr double EV_PER_HARTREE = 27.211386245988;

inline double electronvolts(const std::string &unit) {
  return unit == "hartree" ? EV_PER_HARTREE : unit == "kcal/mol" ? 1 / KCAL_PER_EV : 1;
}

// Factor from the model's unit to that of LAMMPS's unit style; 0 where the style is not known.
inline double energy_factor(const std::string &unit, const std::string &style) {
  if (style == "metal") return unit == "eV" ? 1 : electronvolts(unit);
  if (style == "real") return unit == "kcal/mol" ? 1 : electronvolts(unit) * KCAL_PER_EV;
  return 0;
}

constexpr const char *SYMBOLS[] = {
    "H",  "He", "Li", "Be", "B",  "C",  "N",  "O",  "F",  "Ne", "Na", "Mg", "Al", "Si", "P",  "S",  "Cl", "Ar", "K",  "Ca",
    "Sc", "Ti", "V",  "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y",  "Zr",
    "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I",  "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd",
    "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W",  "Re", "Os", "Ir", "Pt", "Au", "Hg",
    "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U",  "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm",
    "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og"};

// 0 where there is no such element.
inline int atomic_number(const std::string &symbol) {
  for (int z = 0; z < 118; ++z)
    if (symbol == SYMBOLS[z]) return z + 1;
  return 0;
}

inline std::string symbol(int atomic_number) { return SYMBOLS[atomic_number - 1]; }

} // namespace taafs
