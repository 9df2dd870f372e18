#include "curve.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace taafs {

namespace {

// m (m-1) ... (m-order+1): what the order-th derivative makes of u^m.
double falling(int m, int order) {
    double f = 1;
    for (int j = 0; j < order; ++j) f *= m - j;
    return f;
}

// cos mu = T_m(c) and sin mu = s U_(m-1)(c) with c = cos u, s = sin u: calls use(m, j, number) for each number of T_m (cosine) or
// U_(m-1) at c^j.
template <bool cosine, class Use>
void wave_powers(int waves, Use use) {
    std::array<double, kWaves + 1> before{}, now{};
    before[0] = cosine ? 1 : 0;
    now[cosine ? 1 : 0] = 1;
    for (int m = 1; m <= waves; ++m) {
        for (int j = 0; j <= kWaves; ++j)
            if (now[j] != 0) use(m, j, now[j]);
        std::array<double, kWaves + 1> next{};
        for (int j = 0; j <= kWaves; ++j) next[j] = (j ? 2 * now[j - 1] : 0) - before[j];
        before = now;
        now = next;
    }
}

// A Piecewise of 5 cubics with two continuous derivatives, of t = 2.5 u:
//   sum_m c_m t^m + d (|t| - 1/2)_+^3 + d' (|t| - 3/2)_+^3, with other d and d' for t > 0 than for t < 0.
// pieces [5, 4], the cubics of (t + 5/2) mod 1; rows: c_0 to c_3, then d and d' of the left, d and d' of the right.
constexpr int kSpline = 8;
void spline_rows(const double* pieces, double* rows) {
    const double* middle = pieces + 2 * 4;
    std::fill(rows, rows + 4, 0.0);
    for (int m = 0; m < 4; ++m)  // (t + 1/2)^m
        for (int j = 0, binomial = 1; j <= m; binomial = binomial * (m - j) / (j + 1), ++j) rows[j] += middle[m] * binomial * std::pow(0.5, m - j);
    const auto cubic = [&](int piece) { return pieces[piece * 4 + 3]; };
    rows[4] = cubic(2) - cubic(1);
    rows[5] = cubic(1) - cubic(0);
    rows[6] = cubic(3) - cubic(2);
    rows[7] = cubic(4) - cubic(3);
}
// What the order-th derivative with respect to u makes of row r, which then stands at row r - order (or is gone).
double spline_factor(int r, int order) {
    const double sign = (r == 4 || r == 5) && order % 2 ? -1 : 1;
    return falling(r < 4 ? r : 3, order) * sign * std::pow(2.5, order);
}

}  // namespace

int kernel_rows(const Curve& c, int order) {
    switch (c.shape) {
        case Shape::Polynomial: return std::max(c.b - order, 1);
        case Shape::Piecewise: return std::max(c.b - order, 1) * c.a;
        case Shape::Spline: return kSpline - order;
        default: return c.numbers;
    }
}

void fill_rows(const Curve& c, const double* theta, int order, double* rows) {
    switch (c.shape) {
        case Shape::Polynomial:
            rows[0] = 0;  // a derivative above the degree
            for (int m = order; m < c.b; ++m) {
                double sum = 0;
                for (int k = 0; k < c.numbers; ++k) sum += theta[k] * c.matrix[k * c.b + m];
                rows[m - order] = sum * falling(m, order);
            }
            break;
        case Shape::Piecewise: {  // row = power * intervals + interval
            const double step = std::pow(0.5 * c.a, order);
            std::fill(rows, rows + c.a, 0.0);
            for (int m = order; m < c.b; ++m)
                for (int i = 0; i < c.a; ++i) {
                    double sum = 0;
                    for (int k = 0; k < c.numbers; ++k) sum += theta[k] * c.matrix[(k * c.a + i) * c.b + m];
                    rows[(m - order) * c.a + i] = sum * falling(m, order) * step;
                }
            break;
        }
        case Shape::Fourier:
            std::copy(theta, theta + c.numbers, rows);
            if (order) rows[0] = 0;
            for (int k = 1; k <= c.a; ++k)
                for (int j = 0; j < order; ++j) {
                    const double p = rows[2 * k - 1], q = rows[2 * k];
                    rows[2 * k - 1] = k * q;
                    rows[2 * k] = -k * p;
                }
            if (c.a <= kWaves) {  // as numbers of c^0 to c^n, then of s c^0 to s c^(n-1)
                std::array<double, 2 * kWaves + 1> powers{};
                powers[0] = rows[0];
                wave_powers<true>(c.a, [&](int m, int j, double number) { powers[j] += number * rows[2 * m - 1]; });
                wave_powers<false>(c.a, [&](int m, int j, double number) { powers[c.a + 1 + j] += number * rows[2 * m]; });
                std::copy(powers.data(), powers.data() + c.numbers, rows);
            }
            break;
        case Shape::Spline: {
            double pieces[5 * 4] = {}, all[kSpline];
            for (int k = 0; k < c.numbers; ++k)
                for (int i = 0; i < 5 * 4; ++i) pieces[i] += theta[k] * c.matrix[k * 5 * 4 + i];
            spline_rows(pieces, all);
            for (int r = order; r < kSpline; ++r) rows[r - order] = all[r] * spline_factor(r, order);
            break;
        }
        case Shape::Gaussian: {
            const double step = std::pow(0.5 * (c.a - 1), order);
            for (int k = 0; k < c.a; ++k) rows[k] = theta[k] * step;
            break;
        }
        case Shape::Rational: std::copy(theta, theta + c.numbers, rows); break;
    }
}

int raw_rows(const Curve& c, int order) {
    switch (c.shape) {
        case Shape::Polynomial: return std::max(c.b - order, 1);
        case Shape::Piecewise: return std::max(c.b - order, 1) * c.a;
        case Shape::Spline: return kSpline - order;
        case Shape::Rational: return order ? 2 * c.numbers : c.numbers;
        default: return c.numbers;
    }
}

void fold(const Curve& c, const double* raw, int order, double* grad) {
    switch (c.shape) {
        case Shape::Polynomial:
            for (int k = 0; k < c.numbers; ++k)
                for (int m = order; m < c.b; ++m) grad[k] += c.matrix[k * c.b + m] * falling(m, order) * raw[m - order];
            break;
        case Shape::Piecewise: {
            const double step = std::pow(0.5 * c.a, order);
            for (int k = 0; k < c.numbers; ++k)
                for (int i = 0; i < c.a; ++i)
                    for (int m = order; m < c.b; ++m)
                        grad[k] += c.matrix[(k * c.a + i) * c.b + m] * falling(m, order) * step * raw[(m - order) * c.a + i];
            break;
        }
        case Shape::Spline:
            for (int k = 0; k < c.numbers; ++k) {
                double all[kSpline];
                spline_rows(c.matrix + k * 5 * 4, all);
                for (int r = order; r < kSpline; ++r) grad[k] += all[r] * spline_factor(r, order) * raw[r - order];
            }
            break;
        case Shape::Fourier: {
            std::array<double, 2 * kWaves + 1> waves{};
            if (c.a <= kWaves) {  // raw holds sums of powers
                waves[0] = raw[0];
                wave_powers<true>(c.a, [&](int m, int j, double number) { waves[2 * m - 1] += number * raw[j]; });
                wave_powers<false>(c.a, [&](int m, int j, double number) { waves[2 * m] += number * raw[c.a + 1 + j]; });
                raw = waves.data();
            }
            if (!order) grad[0] += raw[0];
            for (int k = 1; k <= c.a; ++k) {
                const double p = raw[2 * k - 1], q = raw[2 * k];
                grad[2 * k - 1] += order ? -k * q : p;  // d cos ku / du = -k sin ku
                grad[2 * k] += order ? k * p : q;
            }
            break;
        }
        case Shape::Gaussian:
            for (int k = 0; k < c.a; ++k) grad[k] += raw[k] * (order ? 0.5 * (c.a - 1) : 1.0);
            break;
        case Shape::Rational: {
            // With D = 1 + Q^2 and r = -2PQ/D^2: df/dp_m = u^m/D, df/dq_m = r u^m; raw holds the weighted powers (kernels.cpp).
            const int tops = c.a + 1;
            if (!order) {
                for (int k = 0; k < c.numbers; ++k) grad[k] += raw[k];
                break;
            }
            const double *p1 = raw, *p2 = raw + tops, *q1 = raw + 2 * tops, *q2 = raw + 2 * tops + c.b;
            for (int m = 0; m < tops; ++m) grad[m] += (m ? m * p1[m - 1] : 0.0) + p2[m];
            for (int m = 1; m <= c.b; ++m) grad[tops + m - 1] += m * q1[m - 1] + q2[m - 1];
            break;
        }
    }
}

}  // namespace taafs
