// Loads an exported model and differentiates it.
// Part of taafs-plugins' LAMMPS plugin, under the GNU General Public License version 2 (LICENSE in this folder).

#include "model.h"

#include "metadata.h"

#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>

namespace taafs {
namespace {

std::string first_line(const std::string &text) {
  const size_t start = text.find_first_not_of(" \n");
  return start == std::string::npos ? text : text.substr(start, text.find('\n', start) - start);
}

// 2.11.0 of 2.11.0+cpu
std::string release(const std::string &version) { return version.substr(0, version.find('+')); }

Metadata read_metadata(const std::string &path) {
  if (!std::ifstream(path).good()) throw std::runtime_error("there is no file " + path);
  std::string text;
  try {
    caffe2::serialize::PyTorchStreamReader reader(path);
    if (!reader.hasRecord("extra/taafs.json"))
      throw std::runtime_error(path + " holds no taafs.json; write it with 'taafs export' (it takes files of 'spkdeploy' too)");
    auto [data, size] = reader.getRecord("extra/taafs.json");
    text.assign(static_cast<const char *>(data.get()), size);
  } catch (const c10::Error &) {
    throw std::runtime_error(path + " is not a whole TorchScript file; write it again with 'taafs export' or copy it again");
  }
  try {
    return parse_metadata(text);
  } catch (const std::invalid_argument &error) {
    if (std::strcmp(error.what(), "newer") == 0)
      throw std::runtime_error(path + " is of a newer format than this plugin knows; update taafs-plugins and run 'taafs lammps build'");
    throw std::runtime_error("taafs.json of " + path + " cannot be read (" + error.what() + "); write it again with 'taafs export'");
  }
}

// Whether this processor has every instruction set that the file names; a home folder may be shared by unlike machines.
bool processor_fits(const std::string &path) {
  std::ifstream built(path), here("/proc/cpuinfo");
  std::set<std::string> has;
  for (std::string line; has.empty() && std::getline(here, line);)
    if (line.rfind("flags", 0) == 0 || line.rfind("Features", 0) == 0) {
      std::istringstream words(line);
      has.insert(std::istream_iterator<std::string>(words), {});
    }
  return has.empty() || std::all_of(std::istream_iterator<std::string>(built), {}, [&](const std::string &name) { return has.count(name) > 0; });
}

// Load the fused operators: TAAFS_OPERATORS names their library, else it lies beside this one. Why they cannot be had, or "".
std::string load_operators() {
  std::string path;
  if (const char *named = std::getenv("TAAFS_OPERATORS")) {
    path = named;
  } else {
    Dl_info info;
    if (dladdr(reinterpret_cast<void *>(&load_operators), &info) && info.dli_fname) path = info.dli_fname;
    path = path.substr(0, path.find_last_of('/') + 1) + "libtaafs_fused.so";
    if (!processor_fits(path.substr(0, path.size() - 2) + "processor")) return "their library was built on another kind of processor";
  }
  if (!std::ifstream(path).good()) return "their library is not there";
  return dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) ? "" : "their library does not load";
}

constexpr const char *FUSED = "extra/fused.pt"; // the same model, calling the operators

// The form with the fused operators, if the file has it and they can be had; slower says why not.
std::optional<torch::jit::Module> load_fused(const std::string &path, const torch::Device &device, std::string &slower) {
  caffe2::serialize::PyTorchStreamReader reader(path);
  if (!device.is_cpu() || !reader.hasRecord(FUSED) || !(slower = load_operators()).empty()) return std::nullopt;
  auto [data, size] = reader.getRecord(FUSED);
  std::istringstream model(std::string(static_cast<const char *>(data.get()), size));
  try {
    return torch::jit::load(model, device);
  } catch (const std::exception &error) {
    slower = "this part of the file cannot be loaded (" + first_line(error.what()) + ")";
    return std::nullopt;
  }
}

torch::jit::Module load_module(const std::string &path, const torch::Device &device, std::string &slower) {
  for (bool again = false;; again = true) {
    try {
      if (auto fused = load_fused(path, device, slower)) return *fused;
      return torch::jit::load(path, device);
    } catch (const std::exception &error) {
      const std::string reason = error.what();
      if (reason.find("Unknown builtin op: taafs::") == std::string::npos)
        throw std::runtime_error(path + " cannot be loaded (" + first_line(reason) + "); write it again with 'taafs export'");
      const std::string why = again ? "their library is another version's" : load_operators();
      if (!why.empty())
        throw std::runtime_error(path + " calls the fused operators and " + why + "; run 'taafs lammps build' again, or export the model "
                                        "with TAAFS_EXPORT=plain");
    }
  }
}

} // namespace

void Structure::clear() {
  positions.clear();
  elements.clear();
  first.clear();
  second.clear();
  offsets.clear();
  ends.clear();
  owned = 0;
  angles = false;
}

struct Model::Torch {
  torch::jit::Module module;
  torch::Device device{torch::kCPU};
  torch::ScalarType dtype = torch::kDouble;

  torch::Tensor reals(const std::vector<double> &values, int64_t rows) const {
    auto *data = const_cast<double *>(values.data());
    return torch::from_blob(data, {rows, 3}, torch::kDouble).to(device, dtype, false, true);
  }

  torch::Tensor integers(const std::vector<int64_t> &values) const {
    auto *data = const_cast<int64_t *>(values.data());
    return torch::from_blob(data, {static_cast<int64_t>(values.size())}, torch::kLong).to(device, torch::kLong, false, true);
  }

  static std::vector<double> numbers(const torch::Tensor &tensor) {
    const auto values = tensor.detach().to(torch::kCPU, torch::kDouble).contiguous();
    return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
  }

  std::vector<torch::jit::IValue> inputs(const Structure &s) const {
    const auto atoms = static_cast<int64_t>(s.elements.size());
    const auto pairs = static_cast<int64_t>(s.first.size());
    return {reals(s.positions, atoms), integers(s.elements), integers(s.first), integers(s.second), reals(s.offsets, pairs)};
  }

  // The contract's methods: of all atoms, or of the owned alone.
  torch::Tensor call(const char *all, const char *alone, bool owned, std::vector<torch::jit::IValue> inputs, const Structure &s) const {
    if (!owned) return module.get_method(all)(inputs).toTensor();
    inputs.emplace_back(integers(s.ends));
    inputs.emplace_back(s.angles);
    return module.get_method(alone)(inputs).toTensor();
  }
};

Model::Model(const std::string &path, const std::string &device, int threads, int rank) : torch_(std::make_unique<Torch>()) {
  metadata_ = read_metadata(path);
  const auto made = metadata_.versions.count("torch") ? metadata_.versions.at("torch") : std::string("unknown");
  if (release(made) != release(TORCH_VERSION))
    throw std::runtime_error(path + " was exported with torch " + made + " and this plugin runs torch " + TORCH_VERSION +
                             "; export the model again, or run 'taafs lammps build' where that torch is installed");
  const auto gpus = torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0;
  if (device == "cuda" && gpus == 0) throw std::runtime_error("device cuda is asked for and torch sees no GPU");
  if (device != "cpu" && gpus > 0) torch_->device = torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(rank % gpus));
  torch_->dtype = metadata_.dtype == "float32" ? torch::kFloat : torch::kDouble;
  at::set_num_threads(threads); // more threads than LAMMPS was given are far slower on small machines
  torch_->module = load_module(path, torch_->device, slower_);
  torch_->module.eval();
  for (auto parameter : torch_->module.parameters()) parameter.set_requires_grad(false);
}

Model::~Model() = default;

std::string Model::device() const { return torch_->device.str(); }

bool Model::has_magmoms() const { return torch_->module.find_method("magmoms").has_value(); }

bool Model::owned_alone(const Structure &structure) const { return !structure.ends.empty() && torch_->module.find_method("owned").has_value(); }

Result Model::evaluate(const Structure &structure, bool with_offsets) {
  // the optimizing executor's guards cost more than it gains on these models
  torch::jit::GraphOptimizerEnabledGuard executor(false);
  auto inputs = torch_->inputs(structure);
  std::vector<torch::Tensor> wanted{inputs[0].toTensor().requires_grad_(true)};
  if (with_offsets) wanted.push_back(inputs[4].toTensor().requires_grad_(true));
  const bool alone = owned_alone(structure);
  const auto energies = torch_->call("forward", "owned", alone, inputs, structure);
  if (energies.dim() != 1 || energies.size(0) != (alone ? structure.owned : static_cast<int64_t>(structure.elements.size())))
    throw std::runtime_error("the model does not return one energy per atom; write it with 'taafs export'");
  const auto energy = energies.slice(0, 0, structure.owned).to(torch::kDouble).sum();
  std::vector<torch::Tensor> gradients(wanted.size());
  if (energy.requires_grad()) // not so where no atom has a pair
    gradients = torch::autograd::grad({energy}, wanted, {}, std::nullopt, false, /*allow_unused=*/true);
  for (size_t i = 0; i < wanted.size(); ++i)
    if (!gradients[i].defined()) gradients[i] = torch::zeros_like(wanted[i]);
  Result result;
  result.energy = energy.item<double>();
  result.energies = Torch::numbers(energies);
  result.dpositions = Torch::numbers(gradients[0]);
  if (with_offsets) result.doffsets = Torch::numbers(gradients[1]);
  return result;
}

std::vector<double> Model::magmoms(const Structure &structure) {
  torch::jit::GraphOptimizerEnabledGuard executor(false);
  torch::NoGradGuard guard;
  return Torch::numbers(torch_->call("magmoms", "owned_magmoms", owned_alone(structure), torch_->inputs(structure), structure));
}

} // namespace taafs
