// taafs_formulas::apply: a generated formula of z [..., C] and numbers q [K] or [C, K], with its autograd. Forward, backward and double
// backward are one sweep each; a third derivative is made of plain operators.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/library.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <vector>

#include "../csrc/empty_node.h"
#include "kernels.h"

namespace taafs_formulas {

namespace {

using at::Tensor;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

// The functions of kernels.h for tensors.
Tensor sign_(const Tensor& x) { return at::where(x < 0, -at::ones_like(x), at::ones_like(x)); }
Tensor exp_(const Tensor& x) { return at::exp(x); }
Tensor expm1_(const Tensor& x) { return at::expm1(x); }
Tensor sigmoid_(const Tensor& x) { return at::sigmoid(x); }
Tensor tanh_(const Tensor& x) { return at::tanh(x); }
Tensor mish_(const Tensor& x) { return at::tanh(at::softplus(x, 1, 60)); }

#include "plain.inc"

constexpr int64_t kChunk = 16384;

template <class T>
struct Numbers {
    std::vector<T> tiled;  // [K][tile]
    int64_t tile = 1, width = 1, count;

    explicit Numbers(const Tensor& q) : count(q.size(-1)) {
        const Tensor own = q.to(c10::CppTypeToScalarType<T>::value).contiguous();
        const T* from = own.template const_data_ptr<T>();
        if (q.dim() == 2) {
            width = q.size(0);
            tile = std::lcm(width, int64_t(Lanes<T>::n));
        }
        tiled.resize(count * tile);
        for (int64_t k = 0; k < count; ++k)
            for (int64_t t = 0, c = 0; t < tile; ++t, c = c + 1 == width ? 0 : c + 1) tiled[k * tile + t] = from[c * count + k];
    }
};

template <class T>
Tensor sweep_of(int64_t index, Mode mode, const Tensor& z, const Tensor& gy, const Tensor& hz, const Tensor& out, const Tensor& out2, const Tensor& q) {
    const Numbers<T> numbers(q);
    const auto in = [](const Tensor& t) { return t.defined() ? t.const_data_ptr<T>() : nullptr; };
    Data<T> d{in(z), in(gy), in(hz), out.mutable_data_ptr<T>(), out2.defined() ? out2.mutable_data_ptr<T>() : nullptr,
              numbers.tiled.data(), numbers.tile};
    const bool summed = mode == Mode::Gradient || mode == Mode::Double;
    const int64_t n = z.numel(), each = std::max<int64_t>(1, kChunk / numbers.tile) * numbers.tile, chunks = (n + each - 1) / each;
    const int64_t size = summed ? numbers.count * numbers.tile : 0;
    std::vector<double> sums(chunks * size);
    const auto work = [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) run_formula(index, mode, d, i * each, std::min(n, (i + 1) * each), sums.data() + i * size);
    };
    if (chunks > 1)
        at::parallel_for(0, chunks, 1, work);
    else
        work(0, chunks);
    if (!summed) return {};
    Tensor grad = at::zeros(q.sizes(), q.options().dtype(at::kDouble));
    double* g = grad.mutable_data_ptr<double>();
    for (int64_t i = 0; i < chunks; ++i)
        for (int64_t k = 0; k < numbers.count; ++k)
            for (int64_t t = 0, c = 0; t < numbers.tile; ++t, c = c + 1 == numbers.width ? 0 : c + 1)
                g[c * numbers.count + k] += sums[i * size + k * numbers.tile + t];
    return grad.to(q.scalar_type());
}

Tensor sweep(int64_t index, Mode mode, const Tensor& z, const Tensor& gy, const Tensor& hz, const Tensor& out, const Tensor& out2, const Tensor& q) {
    return z.scalar_type() == at::kDouble ? sweep_of<double>(index, mode, z, gy, hz, out, out2, q)
                                          : sweep_of<float>(index, mode, z, gy, hz, out, out2, q);
}

Tensor like(const Tensor& t) { return at::detail::empty_cpu(t.sizes(), t.scalar_type()); }

// The gradients of (gz, gq) with respect to z, gy and q from plain operators: right to any further order.
variable_list plain_double_backward(int64_t index, Tensor z, Tensor gy, Tensor q, const Tensor& hz, const Tensor& hq) {
    using torch::autograd::grad;
    const bool further = at::GradMode::is_enabled();
    at::AutoGradMode on(true);
    // Views keep hooks that a user has put on the tensors themselves from running twice.
    for (Tensor* t : {&z, &gy, &q}) *t = further && t->requires_grad() ? t->view_as(*t) : t->detach().requires_grad_();
    const Tensor y = plain(index, z, q.to(z.scalar_type()).unbind(-1));
    const variable_list first = grad({y}, {z, q}, {gy}, true, true, true);
    variable_list of, with;
    if (hz.defined() && first[0].defined() && first[0].requires_grad()) of.push_back(first[0]), with.push_back(hz);
    if (hq.defined() && first[1].defined() && first[1].requires_grad()) of.push_back(first[1]), with.push_back(hq);
    if (of.empty()) return variable_list(3);
    return grad(of, {z, gy, q}, with, further, further, true);
}

// The gradients of y with respect to z and q from plain operators, for what has no memory of its own to sweep over (batched gradients).
variable_list plain_backward(int64_t index, Tensor z, Tensor q, const Tensor& gy) {
    const bool further = at::GradMode::is_enabled();
    at::AutoGradMode on(true);
    for (Tensor* t : {&z, &q}) *t = further && t->requires_grad() ? t->view_as(*t) : t->detach().requires_grad_();
    return torch::autograd::grad({plain(index, z, q.to(z.scalar_type()).unbind(-1))}, {z, q}, {gy}, further, further, true);
}

// Nodes of the autograd graph as torch's own operators have them: torch::autograd::Function costs microseconds more a call.
template <class N, class... Variables>
auto new_node(int64_t index, const Variables&... inputs) {
    auto node = taafs::empty_node<N>();
    node->set_next_edges(torch::autograd::collect_next_edges(inputs...));
    node->index = index;
    return node;
}

// The derivatives of gz and gq.
struct BackwardNode : torch::autograd::Node {
    SavedVariable z, gy, q;
    int64_t index;

    std::string name() const override { return "TaafsFormulaBackwardBackward"; }

    void release_variables() override {
        const std::lock_guard<std::mutex> lock(mutex_);
        z.reset_data(), gy.reset_data(), q.reset_data();
    }

    variable_list apply(variable_list&& grads) override {
        const std::lock_guard<std::mutex> lock(mutex_);
        const Tensor hz = grads[0], hq = grads.size() > 1 ? grads[1] : Tensor();
        if (!hz.defined() && !hq.defined()) return variable_list(3);
        const Tensor z = this->z.unpack(), gy = this->gy.unpack(), q = this->q.unpack();
        if (at::GradMode::is_enabled() || hq.defined() || !hz.has_storage() || !gy.has_storage()) return plain_double_backward(index, z, gy, q, hz, hq);
        const Tensor out = like(z), out2 = like(z);
        const Tensor gq = sweep(index, task_should_compute_output(2) ? Mode::Double : Mode::Curvature, z.contiguous(), gy.contiguous(), hz.contiguous(), out, out2, q);
        return {out2, out, gq};
    }
};

struct ForwardNode : torch::autograd::Node {
    SavedVariable z, q;
    int64_t index;

    std::string name() const override { return "TaafsFormulaBackward"; }

    void release_variables() override {
        const std::lock_guard<std::mutex> lock(mutex_);
        z.reset_data(), q.reset_data();
    }

    variable_list apply(variable_list&& grads) override {
        const std::lock_guard<std::mutex> lock(mutex_);
        const Tensor& gy = grads[0];
        if (!gy.defined()) return variable_list(2);
        const Tensor z = this->z.unpack(), q = this->q.unpack();
        if (!gy.has_storage()) return plain_backward(index, z, q, gy);
        const bool want = task_should_compute_output(1);
        Tensor gz, gq;
        {
            at::AutoDispatchBelowADInplaceOrView below;
            gz = like(z);
            gq = sweep(index, want ? Mode::Gradient : Mode::Backward, z.contiguous(), gy.contiguous(), {}, gz, {}, q);
        }
        if (!at::GradMode::is_enabled() || !torch::autograd::compute_requires_grad(z, gy, q)) return {gz, gq};
        const auto node = new_node<BackwardNode>(index, z, gy, q);
        torch::autograd::set_history(gz, node);
        if (want) torch::autograd::set_history(gq, node);
        node->z = SavedVariable(z, false), node->gy = SavedVariable(gy, false), node->q = SavedVariable(q, false);
        return {gz, gq};
    }
};

Tensor apply(const Tensor& z, const Tensor& q, int64_t index) {
    TORCH_CHECK(z.device().is_cpu() && (z.scalar_type() == at::kDouble || z.scalar_type() == at::kFloat),
                "taafs_formulas::apply takes float32 and float64 tensors on the CPU");
    TORCH_CHECK(q.dim() == 1 || (z.dim() > 0 && z.size(-1) == q.size(0)), "taafs_formulas::apply: one row of numbers for each entry of the last axis");
    const bool tracked = torch::autograd::compute_requires_grad(z, q);
    Tensor y = like(z);
    {
        at::AutoDispatchBelowADInplaceOrView below;
        sweep(index, Mode::Forward, z.contiguous(), {}, {}, y, {}, q);
    }
    if (!tracked) return y;
    TORCH_CHECK_NOT_IMPLEMENTED(!torch::autograd::isFwGradDefined(z) && !torch::autograd::isFwGradDefined(q),
                                "taafs_formulas::apply has no forward-mode derivative; set TAAFS_ENGINE=plain for it");
    const auto node = new_node<ForwardNode>(index, z, q);
    torch::autograd::set_history(y, node);
    node->z = SavedVariable(z, false), node->q = SavedVariable(q, false);
    return y;
}

}  // namespace

}  // namespace taafs_formulas

TORCH_LIBRARY(taafs_formulas, m) {
    m.def("apply(Tensor z, Tensor q, int index) -> Tensor", &taafs_formulas::apply);
}
