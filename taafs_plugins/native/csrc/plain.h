// The same curve in torch operators, differentiable to any order: what a third derivative is made of.
#pragma once
#include <ATen/ATen.h>

#include "curve.h"

namespace taafs {

// squash(z / scale)
inline at::Tensor plain_squash(const Curve& c, const at::Tensor& z) {
    const at::Tensor x = z / c.scale;
    switch (c.squash) {
        case Squash::Tanh: return x.tanh();
        case Squash::Softsign: return x / (1 + at::where(x < 0, -x, x));  // not abs: one-sided at 0, from the right
        case Squash::Algebraic: {
            const at::Tensor far = x.abs() > 1;
            const at::Tensor inverse = at::where(far, 1 / at::where(far, x, at::ones_like(x)), at::zeros_like(x));
            const at::Tensor near = at::where(far, at::zeros_like(x), x);
            return at::where(far, x.sign() / (1 + inverse * inverse).sqrt(), near / (1 + near * near).sqrt());
        }
        default: return x;
    }
}

inline at::Tensor plain_horner(const std::vector<at::Tensor>& numbers, const at::Tensor& t) {
    at::Tensor y = numbers.back().expand_as(t);
    for (auto m = int64_t(numbers.size()) - 2; m >= 0; --m) y = y * t + numbers[m];
    return y;
}

inline at::Tensor plain_piecewise(const Curve& c, const at::Tensor& u, const at::Tensor& theta, const at::Tensor& matrix) {
    const at::Tensor x = (u + 1) * (0.5 * c.a);
    const at::Tensor piece = x.detach().floor().clamp(0, c.a - 1).nan_to_num(0.0);
    const at::Tensor t = x - piece;
    at::Tensor index = piece.to(at::kLong);
    if (theta.dim() == 2) index = index + at::arange(theta.size(0), index.options()) * c.a;
    index = index.flatten();  // index_select has a rule for vmap, backwards too; take has none
    const at::Tensor table = theta.matmul(matrix.reshape({c.numbers, -1})).reshape({-1, c.b});
    std::vector<at::Tensor> numbers;
    for (int m = 0; m < c.b; ++m) numbers.push_back(table.select(1, m).index_select(0, index).reshape(t.sizes()));
    return plain_horner(numbers, t);
}

// sum_k theta_k B_k(u); theta [K] or [C, K], matrix as in Curve
inline at::Tensor plain_curve(const Curve& c, const at::Tensor& u, const at::Tensor& theta, const at::Tensor& matrix) {
    const auto w = [&](int64_t k) { return theta.select(-1, k); };
    at::Tensor y = at::zeros_like(u);
    switch (c.shape) {
        case Shape::Polynomial: return plain_horner(theta.matmul(matrix).unbind(-1), u);
        case Shape::Piecewise: return plain_piecewise(c, u, theta, matrix);
        case Shape::Fourier:
            y = y + w(0);
            for (int k = 1; k <= c.a; ++k) y = y + w(2 * k - 1) * (k * u).cos() + w(2 * k) * (k * u).sin();
            return y;
        case Shape::Gaussian:
            for (int k = 0; k < c.a; ++k) {
                const at::Tensor t = (u + 1) * (0.5 * (c.a - 1)) - k;
                y = y + w(k) * (c.b ? (1 - t * t) * (-0.5 * t * t).exp() : (-t * t).exp());
            }
            return y;
        default: {
            const std::vector<at::Tensor> numbers = theta.unbind(-1);
            const std::vector<at::Tensor> top(numbers.begin(), numbers.begin() + c.a + 1), low(numbers.begin() + c.a + 1, numbers.end());
            const at::Tensor q = plain_horner(low, u) * u;
            return plain_horner(top, u) / (1 + q * q);
        }
    }
}

}  // namespace taafs
