// One curve: a basis behind a squash, and what is computed of its few numbers, in double, before and after a sweep.
#pragma once
#include <cstdint>
#include <vector>

namespace taafs {

// Spline: a Piecewise of 5 cubics that is C2, written as the middle cubic and what the knots beside it add (a sweep's own choice).
enum class Shape { Polynomial, Piecewise, Fourier, Gaussian, Rational, Spline };
enum class Squash { Tanh, Softsign, Algebraic, Linear };
enum class Base { None, Tanh, Silu, Celu };
// Celu's alpha (TorchANI's), and its inverse in the derivatives: torch rounds alpha to a float there, and so do we.
constexpr double kCelu = 0.1, kCeluRate = 1.0 / 0.1f;

// What a sweep over all elements computes.
//   Forward   y = base + curve
//   Backward  gz = gy F1, with F_n the n-th z-derivative of base + curve
//   Gradient  the same, and sum_i gy_i B_k(u_i) for the coefficients
//   Double    derivative of gz: dgy = hz F1, dz = hz gy F2, and sum_i hz_i gy_i dB_k/dz_i for the coefficients
enum class Mode { Forward, Backward, Gradient, Double };

struct Curve {
    Shape shape;
    int a, b;  // polynomial: numbers, powers; piecewise: intervals, powers; fourier: n; gaussian: grid, hat; rational: num, den
    int numbers;
    const double* matrix;  // polynomial [numbers, powers], piecewise [numbers, intervals, powers], spline [numbers, kSpline]
    Squash squash;
    Base base;
    double scale;
    bool from_u;  // the sweeps are given u = tanh(z) instead of z, and differentiate with respect to u where Double does
};

constexpr int kWaves = 4;  // up to so many waves the Fourier kernel works with powers of cos u

// A Piecewise of 5 cubics with two continuous derivatives is, with t = 2.5 u,
//   sum_m c_m t^m + d (|t| - 1/2)_+^3 + d' (|t| - 3/2)_+^3, with other d and d' for t > 0 than for t < 0:
// a Spline's matrix [numbers, kSpline] has c_0 to c_3, then d and d' of the left, then of the right.
constexpr int kSpline = 8;
std::vector<double> spline_matrix(const Curve& piecewise);

// The default grid of bells as polynomials: for vectors of `lanes` numbers one interval for each lane, and so many powers that the
// curve and its slope are right to the last bit or two.
constexpr int kBells = 8;
constexpr int bell_powers(int lanes) { return lanes == 16 ? 8 : 18; }
// [kBells, lanes, powers] as a piecewise Curve's matrix; lanes 16 for float or 8 for double.
const double* bell_pieces(bool hat, int lanes);

// Rows of numbers a kernel wants for the order-th u-derivative: how many, and their values for one neuron's theta.
int kernel_rows(const Curve&, int order);
void fill_rows(const Curve&, const double* theta, int order, double* rows);
// Rows of raw sums a kernel collects, and the map from them to the coefficients' gradient (added to grad).
int raw_rows(const Curve&, int order);
void fold(const Curve&, const double* raw, int order, double* grad);

}  // namespace taafs
