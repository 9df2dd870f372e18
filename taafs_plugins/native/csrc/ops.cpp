// The operator taafs::activation for torch. Links no Python, so the same library serves eager training, TorchScript and DeePMD-kit
// inside LAMMPS.
#include <torch/library.h>
#include <torch/version.h>

// Versions of torch whose autograd internals nodes.h was tested with. TAAFS_PUBLIC_AUTOGRAD asks for functions.h on any.
#if !defined(TAAFS_PUBLIC_AUTOGRAD) && TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 6 && TORCH_VERSION_MINOR <= 15
#include "nodes.h"
#else
#include "functions.h"
#endif

namespace taafs {

namespace {

Settings make_settings(const Tensor& theta_start, const Tensor& matrix, at::IntArrayRef kind, double rate, double scale) {
    TORCH_CHECK(kind.size() == 6, "taafs::activation: kind needs 6 numbers: shape, a, b, numbers, squash, base");
    Settings s;
    s.matrix = matrix;
    s.theta_start = theta_start;
    s.rate = rate;
    Curve& c = s.curve;
    c.shape = Shape(kind[0]);
    c.a = int(kind[1]);
    c.b = int(kind[2]);
    c.numbers = int(kind[3]);
    c.squash = Squash(kind[4]);
    c.base = Base(kind[5] & 3);
    c.from_u = kind[5] & 4;
    c.scale = scale;
    return s;
}

Tensor activation(const Tensor& z, const Tensor& delta, const Tensor& theta_start, const Tensor& matrix, at::IntArrayRef kind, double rate, double scale) {
    TORCH_CHECK(z.device().is_cpu() && (z.scalar_type() == at::kDouble || z.scalar_type() == at::kFloat),
                "taafs::activation takes float32 and float64 tensors on the CPU");
    TORCH_CHECK(delta.dim() == 1 || (z.dim() > 0 && z.size(-1) == delta.size(0)),
                "taafs::activation: one row of coefficients for each entry of the last axis is needed");
    Settings s = make_settings(theta_start, matrix, kind, rate, scale);
    if (transformed(z) || transformed(delta)) return plain_activation(s, z, delta);
    s.curve.matrix = matrix.const_data_ptr<double>();
    return torch::autograd::compute_requires_grad(z, delta) ? forward(s, z, delta) : forward_values(s, z, delta).first;
}

}  // namespace

}  // namespace taafs

TORCH_LIBRARY(taafs, m) {
    // kind = [shape, a, b, numbers, squash, base + 4 from_u], see curve.h; matrix float64 on the CPU, contiguous.
    m.def("activation(Tensor z, Tensor delta, Tensor theta_start, Tensor matrix, int[] kind, float rate, float scale) -> Tensor", &taafs::activation);
}

// vmap would loop over slices otherwise.
TORCH_LIBRARY_IMPL(taafs, FuncTorchBatchedDecomposition, m) { m.impl("activation", &taafs::activation); }
