// The derivative rules of the operator, whichever way autograd is told of them (nodes.h, functions.h).
#pragma once
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/functions/utils.h>

#include "plain.h"
#include "values.h"

namespace taafs {

using torch::autograd::variable_list;

// Tensors whose numbers are not simply in memory: under vmap (either kind), torch.func.grad, a Python tensor class, a lazy minus
// sign or zero, or with a forward-mode tangent. They go through torch's own operators, which know what to do.
inline bool transformed(const Tensor& t) {
    using c10::DispatchKey;
    constexpr c10::DispatchKeySet keys({DispatchKey::Batched, DispatchKey::FuncTorchBatched, DispatchKey::FuncTorchGradWrapper,
                                        DispatchKey::Functionalize, DispatchKey::Python, DispatchKey::Negative, DispatchKey::ZeroTensor});
    return t.defined() && (t.key_set().has_any(keys) || t._fw_grad(0).defined());
}

struct Numbers {
    Tensor theta, matrix;
};

inline Numbers plain_numbers(const Settings& s, const Tensor& delta, at::ScalarType dtype) {
    return {(s.theta_start.to(delta.scalar_type()) + s.rate * delta).to(dtype), s.matrix.to(dtype)};
}

// The activation in plain operators; of u = tanh(z) with from_u, without its derivative du/dz.
inline Tensor plain_sum(const Settings& s, const Tensor& x, const Tensor& delta) {
    const auto [theta, matrix] = plain_numbers(s, delta, x.scalar_type());
    const Curve& c = s.curve;
    const Tensor y = plain_curve(c, c.from_u ? x : plain_squash(c, x), theta, matrix);
    switch (c.base) {
        case Base::Tanh: return y + x;
        case Base::Silu: return y + x * x.sigmoid();  // at::silu has no tangent of its backward
        case Base::Celu: return y + at::celu(x, kCelu);
        default: return y;
    }
}

// The operator itself in plain operators.
inline Tensor plain_activation(const Settings& s, const Tensor& z, const Tensor& delta) {
    return plain_sum(s, s.curve.from_u ? z.tanh() : z, delta);
}

// A tensor to differentiate by. A view keeps hooks that a user has put on the tensor itself from running twice. set_requires_grad,
// as requires_grad_ is refused inside vmap.
inline Tensor as_input(const Tensor& t, bool further) {
    if (further && t.requires_grad()) return t.view_as(t);
    Tensor leaf = t.detach();
    leaf.set_requires_grad(true);
    return leaf;
}

// {gz, gdelta} of backward_values from the plain sum; x and delta are inputs of as_input.
inline variable_list plain_first(const Settings& s, const Tensor& x, const Tensor& gy, const Tensor& delta, bool further) {
    variable_list first = torch::autograd::grad({plain_sum(s, x, delta)}, {x, delta}, {gy}, true, further, true);
    if (!first[0].defined()) first[0] = at::zeros_like(x);
    if (s.curve.from_u) first[0] = first[0] * (1 - x * x);
    return first;
}

// The same for gradients that the kernels cannot take.
inline variable_list plain_backward(const Settings& s, const Tensor& x, const Tensor& gy, const Tensor& gu, const Tensor& delta) {
    const bool further = at::GradMode::is_enabled();
    variable_list first;
    {
        at::AutoGradMode on(true);
        first = plain_first(s, as_input(x, further), gy, as_input(delta, further), further);
    }
    if (gu.defined()) first[0] = first[0] + at::tanh_backward(gu, x);
    return first;
}

// The gradients of (gz, gdelta) with respect to x, gy and delta from plain operators: right to any further order.
inline variable_list plain_double_backward(const Settings& s, Tensor x, Tensor gy, Tensor delta, const Tensor& hz, const Tensor& hdelta) {
    const bool further = at::GradMode::is_enabled();
    at::AutoGradMode on(true);
    for (Tensor* t : {&x, &gy, &delta}) *t = as_input(*t, further);
    const variable_list first = plain_first(s, x, gy, delta, true);
    variable_list of, with;
    if (hz.defined()) of.push_back(first[0]), with.push_back(hz);
    if (hdelta.defined() && first[1].defined()) of.push_back(first[1]), with.push_back(hdelta);
    return torch::autograd::grad(of, {x, gy, delta}, with, further, further, true);
}

// gz, and gdelta or undefined, with their own derivatives: what the two ways differ in.
std::pair<Tensor, Tensor> backward(const Settings& s, const Tensor& x, const Tensor& gy, const Tensor& delta, bool want_delta);

// {of z, of delta} for gradients gy of y and gu of u, either of which may be undefined. x is z, or u with from_u.
inline variable_list first_derivatives(const Settings& s, const Tensor& x, const Tensor& gy, const Tensor& gu, const Tensor& delta, bool want_delta) {
    if (!gy.defined()) return {gu.defined() ? at::tanh_backward(gu, x) : Tensor(), {}};
    if (transformed(gy) || transformed(gu)) return plain_backward(s, x, gy, gu, delta);
    if (at::GradMode::is_enabled()) {
        auto [gz, gdelta] = backward(s, x, gy, delta, want_delta);
        return {gu.defined() ? gz + at::tanh_backward(gu, x) : gz, gdelta};
    }
    Tensor gdelta;
    const Tensor gz = backward_values(s, x, gy, gu, delta, false, want_delta ? &gdelta : nullptr);
    return {gz, gdelta};
}

// {of x, of gy, of delta} for gradients hz of gz and hdelta of gdelta, not both undefined.
inline variable_list second_derivatives(const Settings& s, const Tensor& x, const Tensor& gy, const Tensor& delta, const Tensor& hz, const Tensor& hdelta) {
    if (at::GradMode::is_enabled() || hdelta.defined() || transformed(hz)) return plain_double_backward(s, x, gy, delta, hz, hdelta);
    return double_values(s, x, gy, delta, hz);
}

}  // namespace taafs
