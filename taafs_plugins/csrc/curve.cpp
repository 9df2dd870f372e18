#include "curve.h"

#include <algorithm>
#include <cmath>

namespace taafs {

namespace {

// m (m-1) ... (m-order+1): what the order-th derivative makes of u^m.
double falling(int m, int order) {
    double f = 1;
    for (int j = 0; j < order; ++j) f *= m - j;
    return f;
}

}  // namespace

int kernel_rows(const Curve& c, int order) {
    switch (c.shape) {
        case Shape::Polynomial: return std::max(c.b - order, 1);
        case Shape::Piecewise: return std::max(c.b - order, 1) * c.a;
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
        case Shape::Fourier:
            if (!order) grad[0] += raw[0];
            for (int k = 1; k <= c.a; ++k) {
                const double p = raw[2 * k - 1], q = raw[2 * k];
                grad[2 * k - 1] += order ? -k * q : p;  // d cos ku / du = -k sin ku
                grad[2 * k] += order ? k * p : q;
            }
            break;
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
