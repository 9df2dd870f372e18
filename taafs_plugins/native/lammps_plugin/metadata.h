// Reader of taafs.json.
// Part of taafs-plugins' LAMMPS plugin, under the GNU General Public License version 2 (LICENSE in this folder).

#pragma once

#include "model.h"

namespace taafs {

constexpr int FORMAT = 2;

// Throws std::invalid_argument: "newer" for a newer format, else what is wrong with the text.
Metadata parse_metadata(const std::string &text);

} // namespace taafs
