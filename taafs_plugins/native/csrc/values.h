// What the operator computes, without derivatives: the sweeps over whole tensors.
#pragma once
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "sweep.h"

namespace taafs {

using at::Tensor;

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

// a + b c as torch::add(a, c, alpha=b) rounds it: in one operation where the processor has it.
inline double plus_product(double a, double b, double c) {
#ifdef __FMA__
    return std::fma(b, c, a);
#else
    return a + b * c;
#endif
}

// theta_start + rate delta, as [K] or [C, K]: a few numbers, for which calls of operators would cost more than a small sweep.
inline std::vector<double> theta_of(const Settings& s, const Tensor& delta) {
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
inline bool is_zero(const Curve& c, const std::vector<double>& theta) {
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
inline Tensor sweep(const Settings& s, Mode mode, const std::vector<double>& theta, const Tensor& delta, const Tensors& t) {
    const bool wide = t.x.scalar_type() == at::kDouble;
    const Tensor grad = wide ? run_sweep<double>(s, mode, theta, delta, t) : run_sweep<float>(s, mode, theta, delta, t);
    return grad.defined() ? (grad * s.rate).to(delta.scalar_type()) : grad;
}

inline Tensor like(const Tensor& t) { return at::detail::empty_cpu(t.sizes(), t.scalar_type()); }

// y, and with from_u also u.
inline std::pair<Tensor, Tensor> forward_values(const Settings& s, const Tensor& z, const Tensor& delta) {
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
inline Tensor backward_values(const Settings& s, const Tensor& x, const Tensor& gy, const Tensor& gu, const Tensor& delta, bool differentiable,
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

// The derivatives of gz, as of backward_values, along hz: {of x, of gy, of delta}. Not differentiable.
inline std::vector<Tensor> double_values(const Settings& s, const Tensor& x, const Tensor& gy, const Tensor& delta, const Tensor& hz) {
    Tensors t;
    t.x = x.contiguous(), t.gy = gy.contiguous(), t.hz = hz.contiguous();
    t.out = like(x), t.out2 = like(x);
    const Tensor gdelta = sweep(s, Mode::Double, theta_of(s, delta), delta, t);
    return {t.out2, t.out, gdelta};
}

}  // namespace taafs
