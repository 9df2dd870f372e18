#include "curve.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

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

// What the order-th derivative with respect to u makes of row r of a Spline, which then stands at row r - order (or is gone).
double spline_factor(int r, int order) {
    double factor = falling(r < 4 ? r : 3, order) * ((r == 4 || r == 5) && order % 2 ? -1 : 1);
    for (int j = 0; j < order; ++j) factor *= 2.5;
    return factor;
}

// Chebyshev interpolation of each bell's slope in each interval, integrated from the bell's value at the left end.
std::vector<double> make_bell_pieces(bool hat, int pieces) {
    const int powers = bell_powers(pieces), nodes = powers - 1;
    const double step = double(kBells - 1) / pieces, pi = std::acos(-1.0);
    std::vector<double> matrix(kBells * pieces * powers);
    std::vector<std::vector<double>> chebyshev(nodes, std::vector<double>(nodes));  // of 2 t - 1, in powers of t
    for (int j = 0; j < nodes; ++j)
        for (int m = 0; m <= j; ++m) {
            if (j == 0) chebyshev[0][0] = 1;
            if (j == 1) chebyshev[1][m] = m ? 2 : -1;
            if (j > 1) chebyshev[j][m] = (m ? 4 * chebyshev[j - 1][m - 1] : 0) - 2 * chebyshev[j - 1][m] - chebyshev[j - 2][m];
        }
    for (int k = 0; k < kBells; ++k)
        for (int i = 0; i < pieces; ++i) {
            double* numbers = matrix.data() + (k * pieces + i) * powers;
            const double left = i * step - k, e = std::exp((hat ? -0.5 : -1) * left * left);
            numbers[0] = hat ? (1 - left * left) * e : e;
            for (int j = 0; j < nodes; ++j) {
                double sum = 0;
                for (int l = 0; l < nodes; ++l) {
                    const double angle = pi * (l + 0.5) / nodes, t = left + 0.5 * (1 + std::cos(angle)) * step;
                    const double slope = hat ? t * (t * t - 3) * std::exp(-0.5 * t * t) : -2 * t * std::exp(-t * t);
                    sum += slope * std::cos(j * angle);
                }
                for (int m = 0; m <= j; ++m) numbers[m + 1] += chebyshev[j][m] * sum * (j ? 2.0 : 1.0) / nodes * step / (m + 1);
            }
        }
    return matrix;
}

}  // namespace

std::vector<double> spline_matrix(const Curve& c) {
    constexpr double powers[4][4] = {{1}, {0.5, 1}, {0.25, 1, 1}, {0.125, 0.75, 1.5, 1}};  // of t + 1/2
    std::vector<double> matrix(c.numbers * kSpline);
    for (int k = 0; k < c.numbers; ++k) {
        const double* pieces = c.matrix + k * 5 * 4;
        double* rows = matrix.data() + k * kSpline;
        for (int m = 0; m < 4; ++m)
            for (int j = 0; j <= m; ++j) rows[j] += pieces[2 * 4 + m] * powers[m][j];
        const auto cubic = [&](int piece) { return pieces[piece * 4 + 3]; };
        rows[4] = cubic(2) - cubic(1);
        rows[5] = cubic(1) - cubic(0);
        rows[6] = cubic(3) - cubic(2);
        rows[7] = cubic(4) - cubic(3);
    }
    return matrix;
}

const double* bell_pieces(bool hat, int lanes) {
    static const std::vector<double> tables[] = {make_bell_pieces(false, 8), make_bell_pieces(true, 8), make_bell_pieces(false, 16),
                                                 make_bell_pieces(true, 16)};
    return tables[(lanes == 16) * 2 + hat].data();
}

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
        case Shape::Spline:
            for (int r = order; r < kSpline; ++r) {
                double sum = 0;
                for (int k = 0; k < c.numbers; ++k) sum += theta[k] * c.matrix[k * kSpline + r];
                rows[r - order] = sum * spline_factor(r, order);
            }
            break;
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
            for (int r = order; r < kSpline; ++r)
                for (int k = 0; k < c.numbers; ++k) grad[k] += c.matrix[k * kSpline + r] * spline_factor(r, order) * raw[r - order];
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
