// The operator taafs::activation for torch: its autograd on top of the sweeps. Links no Python, so the same library serves
// eager training, TorchScript and DeePMD-kit inside LAMMPS.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "plain.h"
#include "sweep.h"

namespace taafs {

namespace {

using at::Tensor;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

// What does not change from call to call, and the coefficients' constant part.
struct Settings {
    Curve curve;
    Tensor matrix, theta_start;
    double rate;
};

// Calls body with a pointer to the numbers of a contiguous tensor.
template <class Body>
void with_numbers(const Tensor& t, Body body) {
    const Tensor own = t.contiguous();
    if (own.scalar_type() == at::kDouble)
        body(own.const_data_ptr<double>());
    else if (own.scalar_type() == at::kFloat)
        body(own.const_data_ptr<float>());
    else
        body(own.to(at::kDouble).const_data_ptr<double>());
}

// theta_start + rate delta, as [K] or [C, K]: a few numbers, for which calls of operators would cost more than a small sweep.
// a + b c as torch::add(a, c, alpha=b) rounds it: in one operation where the processor has it.
inline double plus_product(double a, double b, double c) {
#ifdef __FMA__
    return std::fma(b, c, a);
#else
    return a + b * c;
#endif
}

std::vector<double> theta_of(const Settings& s, const Tensor& delta) {
    std::vector<double> theta(delta.numel());
    with_numbers(s.theta_start, [&](const auto* start) {
        const size_t period = s.theta_start.numel();
        for (size_t i = 0; i < theta.size(); ++i) theta[i] = start[i % period];
    });
    with_numbers(delta, [&](const auto* d) {
        for (size_t i = 0; i < theta.size(); ++i) theta[i] = plus_product(theta[i], s.rate, double(d[i]));
    });
    return theta;
}

// How torch's tanh_backward rounds 1 - u^2 depends on how it was compiled: found by trying.
template <class T>
bool tanh_backward_fused() {
    static const bool fused = [] {
        const Tensor u = at::linspace(-0.9, 0.9, 1003, c10::CppTypeToScalarType<T>::value);
        const Tensor expected = at::tanh_backward(at::ones_like(u), u);
        Tensor s = at::empty_like(u);
        one_minus_square(u.const_data_ptr<T>(), s.mutable_data_ptr<T>(), u.numel(), true);
        return at::equal(s, expected);
    }();
    return fused;
}

// A curve that is 0 leaves the base, and that is torch's to the last bit; any other curve takes the base from the kernels.
bool is_zero(const Curve& c, const std::vector<double>& theta) {
    const int matter = c.shape == Shape::Rational ? c.a + 1 : c.numbers;  // with P = 0, Q does not matter
    for (size_t i = 0; i < theta.size(); ++i)
        if (int(i % c.numbers) < matter && theta[i] != 0) return false;
    return true;
}

struct Tensors {
    Tensor x, gy, gu, hz;            // see Data
    Tensor out, out2, u_out;
    bool base_given = false, out_is_sigmoid = false;
};

template <class T>
Tensor run_sweep(const Settings& s, Mode mode, const std::vector<double>& theta, const Tensor& delta, const Tensors& t) {
    const Sweep<T> sweep(s.curve, mode, theta.data(), delta.dim() == 2 ? delta.size(0) : 1);
    const auto in = [](const Tensor& t) { return t.defined() ? t.const_data_ptr<T>() : nullptr; };
    const auto out = [](const Tensor& t) { return t.defined() ? t.mutable_data_ptr<T>() : nullptr; };
    Data<T> data;
    data.x = in(t.x);
    data.gy = in(t.gy);
    data.gu = in(t.gu);
    data.hz = in(t.hz);
    data.out = out(t.out);
    data.out2 = out(t.out2);
    data.u_out = out(t.u_out);
    data.base_given = t.base_given;
    data.out_is_sigmoid = t.out_is_sigmoid;
    data.fma = s.curve.from_u && tanh_backward_fused<T>();
    const int64_t n = t.x.numel(), each = sweep.chunk_size(n), chunks = (n + each - 1) / each, size = sweep.sums();
    std::vector<double> sums(chunks * size);
    const auto work = [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) sweep.chunk(data, i * each, std::min(n, (i + 1) * each), sums.data() + i * size);
    };
    if (chunks > 1)
        at::parallel_for(0, chunks, 1, work);
    else
        work(0, chunks);
    if (!size) return {};
    std::vector<double> total(size);
    for (int64_t i = 0; i < chunks; ++i)
        for (int64_t j = 0; j < size; ++j) total[j] += sums[i * size + j];
    Tensor grad = at::zeros(delta.sizes(), delta.options().dtype(at::kDouble));
    sweep.fold(total.data(), grad.mutable_data_ptr<double>());
    return grad;
}

// Runs a sweep; the gradient of delta if the mode makes one. Inputs are contiguous.
Tensor sweep(const Settings& s, Mode mode, const std::vector<double>& theta, const Tensor& delta, const Tensors& t) {
    const bool wide = t.x.scalar_type() == at::kDouble;
    const Tensor grad = wide ? run_sweep<double>(s, mode, theta, delta, t) : run_sweep<float>(s, mode, theta, delta, t);
    return grad.defined() ? (grad * s.rate).to(delta.scalar_type()) : grad;
}

Tensor like(const Tensor& t) { return at::detail::empty_cpu(t.sizes(), t.scalar_type()); }

// y, and with from_u also u.
std::pair<Tensor, Tensor> forward_values(const Settings& s, const Tensor& z, const Tensor& delta) {
    const std::vector<double> theta = theta_of(s, delta);
    Tensors t;
    t.x = z.contiguous();
    Tensor u;
    const bool stock = s.curve.base != Base::None && is_zero(s.curve, theta);
    if (s.curve.from_u) {
        if (stock)
            t.x = u = at::tanh(t.x);
        else
            t.u_out = u = like(z);
    }
    t.base_given = stock && s.curve.base != Base::Tanh;
    t.out = !t.base_given ? like(z) : s.curve.base == Base::Silu ? at::silu(t.x) : at::celu(t.x, kCelu);
    sweep(s, Mode::Forward, theta, delta, t);
    return {t.out, u};
}

// gz, and with `gdelta` the coefficients' gradient. x is z, or u with from_u. Not differentiable.
Tensor backward_values(const Settings& s, const Tensor& x, const Tensor& gy, const Tensor& gu, const Tensor& delta, bool differentiable,
                       Tensor* gdelta) {
    const std::vector<double> theta = theta_of(s, delta);
    Tensors t;
    t.x = x.contiguous();
    t.gy = gy.contiguous();
    if (gu.defined()) t.gu = gu.contiguous();
    const bool silu = s.curve.base == Base::Silu;
    t.base_given = (silu || s.curve.base == Base::Celu) && is_zero(s.curve, theta);
    // Where a second derivative may follow, torch's silu has another backward than where none can.
    t.out_is_sigmoid = t.base_given && silu && differentiable;
    if (t.out_is_sigmoid)
        t.out = at::sigmoid(t.x);
    else if (t.base_given)
        t.out = silu ? at::silu_backward(t.gy, t.x) : at::elu_backward(t.gy, kCelu, 1, kCeluRate, false, t.x);
    else
        t.out = like(t.x);
    const Tensor grad = sweep(s, gdelta ? Mode::Gradient : Mode::Backward, theta, delta, t);
    if (gdelta) *gdelta = grad;
    return t.out;
}

// The gradients of (gz, gdelta) with respect to x, gy and delta from plain operators: right to any further order.
variable_list plain_double_backward(const Settings& s, Tensor x, Tensor gy, Tensor delta, const Tensor& hz, const Tensor& hdelta) {
    using torch::autograd::grad;
    const bool further = at::GradMode::is_enabled();
    at::AutoGradMode on(true);
    // Views keep hooks that a user has put on the tensors themselves from running twice.
    for (Tensor* t : {&x, &gy, &delta}) *t = further && t->requires_grad() ? t->view_as(*t) : t->detach().requires_grad_();
    const auto dtype = x.scalar_type();
    const Tensor theta = (s.theta_start.to(delta.scalar_type()) + s.rate * delta).to(dtype), matrix = s.matrix.to(dtype);
    Tensor y;
    if (s.curve.from_u) {
        y = plain_curve(s.curve, x, theta, matrix);
    } else {
        y = plain_curve(s.curve, plain_squash(s.curve, x), theta, matrix);
        if (s.curve.base == Base::Silu) y = y + x * x.sigmoid();
        if (s.curve.base == Base::Celu) y = y + at::celu(x, kCelu);
    }
    const variable_list first = grad({y}, {x, delta}, {gy}, true, true, true);
    Tensor gz = first[0].defined() ? first[0] : at::zeros_like(x);
    if (s.curve.from_u) {
        if (s.curve.base == Base::Tanh) gz = gz + gy;
        gz = gz * (1 - x * x);
    }
    variable_list of, with;
    if (hz.defined()) of.push_back(gz), with.push_back(hz);
    if (hdelta.defined() && first[1].defined()) of.push_back(first[1]), with.push_back(hdelta);
    return grad(of, {x, gy, delta}, with, further, further, true);
}

// Nodes of the autograd graph as torch's own operators have them: torch::autograd::Function costs microseconds more a call.
template <class N, class... Variables>
std::shared_ptr<N> new_node(const Settings& s, const Variables&... inputs) {
    std::shared_ptr<N> node(new N(), torch::autograd::deleteNode);
    node->set_next_edges(torch::autograd::collect_next_edges(inputs...));
    node->settings = s;
    return node;
}

// The derivatives of backward_values' gz and gdelta.
struct BackwardNode : torch::autograd::Node {
    SavedVariable x, gy, delta;
    Settings settings;

    std::string name() const override { return "TaafsActivationBackwardBackward"; }

    void release_variables() override {
        const std::lock_guard<std::mutex> lock(mutex_);
        x.reset_data(), gy.reset_data(), delta.reset_data();
    }

    variable_list apply(variable_list&& grads) override {
        const std::lock_guard<std::mutex> lock(mutex_);
        const Tensor hz = grads[0], hdelta = grads.size() > 1 ? grads[1] : Tensor();
        if (!hz.defined() && !hdelta.defined()) return variable_list(3);
        const Tensor x = this->x.unpack(), gy = this->gy.unpack(), delta = this->delta.unpack();
        if (at::GradMode::is_enabled() || hdelta.defined()) return plain_double_backward(settings, x, gy, delta, hz, hdelta);
        Tensors t;
        t.x = x.contiguous(), t.gy = gy.contiguous(), t.hz = hz.contiguous();
        t.out = like(x), t.out2 = like(x);
        const Tensor gdelta = sweep(settings, Mode::Double, theta_of(settings, delta), delta, t);
        return {t.out2, t.out, gdelta};
    }
};

// gz, and gdelta or undefined, with their own derivatives.
std::pair<Tensor, Tensor> backward(const Settings& s, const Tensor& x, const Tensor& gy, const Tensor& delta, bool want_delta) {
    Tensor gz, gdelta;
    {
        at::AutoDispatchBelowADInplaceOrView below;
        gz = backward_values(s, x, gy, {}, delta, true, want_delta ? &gdelta : nullptr);
    }
    if (!torch::autograd::compute_requires_grad(x, gy, delta)) return {gz, gdelta};
    const auto node = new_node<BackwardNode>(s, x, gy, delta);
    torch::autograd::set_history(gz, node);
    if (want_delta) torch::autograd::set_history(gdelta, node);
    node->x = SavedVariable(x, false), node->gy = SavedVariable(gy, false), node->delta = SavedVariable(delta, false);
    return {gz, gdelta};
}

struct ForwardNode : torch::autograd::Node {
    SavedVariable x, delta;  // x is z, or with from_u the output u
    Settings settings;

    std::string name() const override { return "TaafsActivationBackward"; }

    void release_variables() override {
        const std::lock_guard<std::mutex> lock(mutex_);
        x.reset_data(), delta.reset_data();
    }

    variable_list apply(variable_list&& grads) override {
        const std::lock_guard<std::mutex> lock(mutex_);
        const Tensor &gy = grads[0], gu = grads.size() > 1 ? grads[1] : Tensor();
        const Tensor x = this->x.unpack(settings.curve.from_u ? shared_from_this() : nullptr), delta = this->delta.unpack();
        const bool want_delta = task_should_compute_output(1) && gy.defined();
        if (!gy.defined()) return {gu.defined() ? at::tanh_backward(gu, x) : Tensor(), {}};
        if (at::GradMode::is_enabled()) {
            auto [gz, gdelta] = backward(settings, x, gy, delta, want_delta);
            return {gu.defined() ? gz + at::tanh_backward(gu, x) : gz, gdelta};
        }
        Tensor gdelta;
        const Tensor gz = backward_values(settings, x, gy, gu, delta, false, want_delta ? &gdelta : nullptr);
        return {gz, gdelta};
    }
};

// With from_u, u is a second output: derivatives of gz come back through it, and neither z nor a second sum is kept.
Tensor forward(const Settings& s, const Tensor& z, const Tensor& delta) {
    TORCH_CHECK_NOT_IMPLEMENTED(!torch::autograd::isFwGradDefined(z) && !torch::autograd::isFwGradDefined(delta),
                                "taafs::activation has no forward-mode derivative; set TAAFS_ENGINE=plain for it");
    Tensor y, u;
    {
        at::AutoDispatchBelowADInplaceOrView below;
        std::tie(y, u) = forward_values(s, z, delta);
    }
    const auto node = new_node<ForwardNode>(s, z, delta);
    torch::autograd::set_history(y, node);
    if (s.curve.from_u) torch::autograd::set_history(u, node);
    node->x = SavedVariable(s.curve.from_u ? u : z, s.curve.from_u), node->delta = SavedVariable(delta, false);
    return y;
}

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
    c.matrix = matrix.const_data_ptr<double>();
    return s;
}

Tensor activation(const Tensor& z, const Tensor& delta, const Tensor& theta_start, const Tensor& matrix, at::IntArrayRef kind, double rate, double scale) {
    TORCH_CHECK(z.device().is_cpu() && (z.scalar_type() == at::kDouble || z.scalar_type() == at::kFloat),
                "taafs::activation takes float32 and float64 tensors on the CPU");
    TORCH_CHECK(delta.dim() == 1 || (z.dim() > 0 && z.size(-1) == delta.size(0)),
                "taafs::activation: one row of coefficients for each entry of the last axis is needed");
    const Settings s = make_settings(theta_start, matrix, kind, rate, scale);
    return torch::autograd::compute_requires_grad(z, delta) ? forward(s, z, delta) : forward_values(s, z, delta).first;
}

}  // namespace

}  // namespace taafs

TORCH_LIBRARY(taafs, m) {
    // kind = [shape, a, b, numbers, squash, base + 4 from_u], see curve.h; matrix float64 on the CPU, contiguous.
    m.def("activation(Tensor z, Tensor delta, Tensor theta_start, Tensor matrix, int[] kind, float rate, float scale) -> Tensor", &taafs::activation);
}
