// The kernels: one per shape of basis, each on a block of u. They evaluate derivatives of the curve with respect to u and
// collect the raw sums of the coefficients' gradient.
//
// Numbers come as rows of vectors, one vector for each position p of a period: with share=layer the period is one vector with
// the same number in every lane; with share=neuron it is the shortest run of whole vectors that holds whole rows of the layer.
// A group is four vectors in a row; rows are three vectors longer than the period so that a group need not wrap.
#pragma once
#include <algorithm>

#include "curve.h"
#include "simd.h"

namespace taafs {

constexpr int kGroup = 4;
constexpr int kBlock = 512;    // elements; divides kChunk, and is a whole number of groups for every vector width
constexpr int kSelect = 12;    // up to so many intervals, choosing by comparison beats reading lane by lane

template <class T>
struct Rows {
    T* data = nullptr;
    int count = 0;
    int64_t stride = 0;  // elements from one row to the next
    T* at(int row, int p) const { return data + row * stride + int64_t(p) * Lanes<T>::n; }
};

template <class T>
struct Block {
    const T* u;
    const T* h;  // weights of the sums
    int vectors;
    int p, period;  // position of the first vector
    bool uniform;   // the same numbers for every element
    bool bounded;   // |u| <= 1 is certain
    Rows<T> rows[2];
    T* out[2];
    Rows<T> sums;
    int next(int at) const { return period == 1 ? 0 : (at + kGroup) % period; }
};

template <class T>
inline void add(T* sum, Vec<T> v) {
    store<T>(sum, load<T>(sum) + v);
}

constexpr int orders(Mode mode) { return mode == Mode::Double ? 2 : 1; }
constexpr int first_order(Mode mode) { return mode == Mode::Forward ? 0 : 1; }
constexpr int sum_order(Mode mode) { return mode == Mode::Double ? 1 : 0; }
constexpr bool with_sums(Mode mode) { return mode == Mode::Gradient || mode == Mode::Double; }

// Calls body(v, p): vector number and its position, in groups.
template <class T, class Body>
inline void each_vector(const Block<T>& b, Body body) {
    int p = b.p;
    for (int g = 0; g < b.vectors; g += kGroup, p = b.next(p))
        for (int i = 0; i < kGroup; ++i) body(g + i, p + i);
}

template <class T, Mode mode>
void polynomial(const Curve&, const Block<T>& b) {
    constexpr int n = Lanes<T>::n;
    int p = b.p;
    for (int g = 0; g < b.vectors; g += kGroup, p = b.next(p)) {
        Vec<T> u[kGroup];  // four chains of dependent multiply-adds at a time
        for (int i = 0; i < kGroup; ++i) u[i] = load<T>(b.u + (g + i) * n);
        for (int o = 0; o < orders(mode); ++o) {
            const Rows<T>& rows = b.rows[o];
            Vec<T> y[kGroup];
            for (int i = 0; i < kGroup; ++i) y[i] = load<T>(rows.at(rows.count - 1, p + i));
            for (int m = rows.count - 2; m >= 0; --m)
                for (int i = 0; i < kGroup; ++i) y[i] = y[i] * u[i] + load<T>(rows.at(m, p + i));
            for (int i = 0; i < kGroup; ++i) store<T>(b.out[o] + (g + i) * n, y[i]);
        }
        if constexpr (with_sums(mode)) {
            Vec<T> q[kGroup];
            for (int i = 0; i < kGroup; ++i) q[i] = load<T>(b.h + (g + i) * n);
            for (int m = 0; m < b.sums.count; ++m)
                for (int i = 0; i < kGroup; ++i) {
                    add<T>(b.sums.at(m, p + i), q[i]);
                    q[i] *= u[i];
                }
        }
    }
}

template <class T>
inline Vec<T> shuffle(Vec<T> table, IntVec<T> index) {
#if defined(__clang__)
    Vec<T> v;
    for (int l = 0; l < Lanes<T>::n; ++l) v[l] = table[index[l]];
    return v;
#else
    return __builtin_shuffle(table, index);
#endif
}

template <class T, Mode mode>
void piecewise(const Curve& c, const Block<T>& b) {
    constexpr int n = Lanes<T>::n;
    using Int = typename Lanes<T>::Int;
    const int pieces = c.a;
    const bool in_register = b.uniform && pieces <= n;
    alignas(64) T tables[2][8 * n] = {};
    if (in_register)
        for (int o = 0; o < orders(mode); ++o)
            for (int r = 0; r < b.rows[o].count; ++r) tables[o][r / pieces * n + r % pieces] = *b.rows[o].at(r, 0);
    each_vector(b, [&](int v, int p) {
        const Vec<T> u = load<T>(b.u + v * n);
        const Vec<T> x = (u + T(1)) * T(0.5 * pieces);
        const Vec<T> zero = u - u;
        Vec<T> inside = x > T(0) ? x : Vec<T>{};  // NaN goes to interval 0 and stays in t
        inside = inside < T(pieces - 1) ? inside : Vec<T>{} + T(pieces - 1);
        const IntVec<T> index = __builtin_convertvector(inside, IntVec<T>);
        const Vec<T> t = x - __builtin_convertvector(index, Vec<T>);
        for (int o = 0; o < orders(mode); ++o) {
            const Rows<T>& rows = b.rows[o];
            auto number = [&](int m) {
                if (in_register) return shuffle<T>(load<T>(tables[o] + m * n), index);
                Vec<T> chosen;
                if (pieces <= kSelect) {
                    chosen = load<T>(rows.at(m * pieces, p));
                    for (int i = 1; i < pieces; ++i) chosen = index == Int(i) ? load<T>(rows.at(m * pieces + i, p)) : chosen;
                } else {
                    for (int l = 0; l < n; ++l) chosen[l] = rows.at(m * pieces + int(index[l]), p)[l];
                }
                return chosen;
            };
            Vec<T> y = number(rows.count / pieces - 1);
            if (rows.count == pieces) y += zero;  // constant pieces: a NaN must still come out as one
            for (int m = rows.count / pieces - 2; m >= 0; --m) y = y * t + number(m);
            store<T>(b.out[o] + v * n, y);
        }
        if constexpr (with_sums(mode)) {
            Vec<T> q = load<T>(b.h + v * n);
            for (int m = 0; m < b.sums.count / pieces; ++m) {
                if (pieces <= kSelect)
                    for (int i = 0; i < pieces; ++i) add<T>(b.sums.at(m * pieces + i, p), index == Int(i) ? q : Vec<T>{});
                else
                    for (int l = 0; l < n; ++l) b.sums.at(m * pieces + int(index[l]), p)[l] += q[l];
                q *= t;
            }
        }
    });
}

template <class T, Mode mode>
void fourier(const Curve& c, const Block<T>& b) {
    constexpr int n = Lanes<T>::n;
    alignas(64) T sines[kBlock], cosines[kBlock];
    if (b.bounded)
        for (int j = 0; j < b.vectors * n; ++j) sincos_small(b.u[j], sines[j], cosines[j]);
    else
        for (int j = 0; j < b.vectors * n; ++j) sines[j] = std::sin(b.u[j]), cosines[j] = std::cos(b.u[j]);
    each_vector(b, [&](int v, int p) {
        const Vec<T> s1 = load<T>(sines + v * n), c1 = load<T>(cosines + v * n);
        Vec<T> s = s1, k = c1, y[2], h;
        for (int o = 0; o < orders(mode); ++o) y[o] = load<T>(b.rows[o].at(0, p));
        if constexpr (with_sums(mode)) {
            h = load<T>(b.h + v * n);
            add<T>(b.sums.at(0, p), h);
        }
        for (int m = 1; m <= c.a; ++m) {
            for (int o = 0; o < orders(mode); ++o)
                y[o] += load<T>(b.rows[o].at(2 * m - 1, p)) * k + load<T>(b.rows[o].at(2 * m, p)) * s;
            if constexpr (with_sums(mode)) {
                add<T>(b.sums.at(2 * m - 1, p), h * k);
                add<T>(b.sums.at(2 * m, p), h * s);
            }
            const Vec<T> turned = k * c1 - s * s1;  // (m + 1) u from m u
            s = s * c1 + k * s1;
            k = turned;
        }
        for (int o = 0; o < orders(mode); ++o) store<T>(b.out[o] + v * n, y[o]);
    });
}

// exp(-t^2), or (1 - t^2) exp(-t^2/2), with t_k = t_0 - k. E_{k+1} = E_k R_k and R_{k+1} = R_k e^{-2a}, a = 1 or 1/2, save all but
// two exponentials while nothing can underflow on the way; else each has its own.
template <class T, Mode mode>
void gaussian(const Curve& c, const Block<T>& b) {
    constexpr int n = Lanes<T>::n;
    const bool hat = c.b;
    const T a = hat ? T(0.5) : T(1), inverse = T(0.5 * (c.a - 1));
    const T reach = sizeof(T) == 8 ? 650 : 80;
    const bool recur = b.bounded && a * (c.a - 1) * (c.a - 1) < reach;
    const T step = std::exp(-2 * a);
    alignas(64) T first[kBlock], ratio[kBlock];
    if (recur)
        for (int j = 0; j < b.vectors * n; ++j) {
            const T t = (b.u[j] + 1) * inverse;
            first[j] = exp_parts(-a * t * t).value();
            const T x = a * (2 * t - 1);  // of either sign; exp_parts wants x <= 0
            const T e = exp_parts(x < 0 ? x : -x).value();
            ratio[j] = x < 0 ? e : 1 / e;
        }
    each_vector(b, [&](int v, int p) {
        Vec<T> t = (load<T>(b.u + v * n) + T(1)) * inverse;
        Vec<T> e = {}, r = {}, y[2] = {}, h;
        if (recur) e = load<T>(first + v * n), r = load<T>(ratio + v * n);
        if constexpr (with_sums(mode)) h = load<T>(b.h + v * n);
        for (int k = 0; k < c.a; ++k) {
            const Vec<T> t2 = t * t;
            if (!recur)
                for (int l = 0; l < n; ++l) e[l] = exp_parts(-a * t2[l]).value();
            Vec<T> f[3];  // the function and its derivatives, as far as they are used
            f[0] = hat ? (T(1) - t2) * e : e;
            if constexpr (mode != Mode::Forward) f[1] = hat ? t * (t2 - T(3)) * e : T(-2) * t * e;
            if constexpr (mode == Mode::Double) f[2] = hat ? (t2 * (T(6) - t2) - T(3)) * e : (T(4) * t2 - T(2)) * e;
            for (int o = 0; o < orders(mode); ++o) y[o] += load<T>(b.rows[o].at(k, p)) * f[first_order(mode) + o];
            if constexpr (with_sums(mode)) add<T>(b.sums.at(k, p), h * f[sum_order(mode)]);
            if (recur) {
                e *= r;
                r *= step;
            }
            t -= T(1);
        }
        for (int o = 0; o < orders(mode); ++o) store<T>(b.out[o] + v * n, y[o]);
    });
}

// f = P / D, D = 1 + Q^2; with r = -2PQ / D^2 (= df/dQ): f' = P'/D + rQ', f'' = P''/D - P'D'/D^2 + r'Q' + rQ''.
template <class T, Mode mode>
void rational(const Curve& c, const Block<T>& b) {
    constexpr int n = Lanes<T>::n;
    const int tops = c.a + 1;
    const Rows<T>& w = b.rows[0];
    each_vector(b, [&](int v, int p) {
        const Vec<T> u = load<T>(b.u + v * n);
        Vec<T> top = load<T>(w.at(tops - 1, p)), top1 = u - u, top2 = top1;
        for (int m = tops - 2; m >= 0; --m) {  // P, P' and P''/2 by Horner's rule
            if constexpr (mode == Mode::Double) top2 = top2 * u + top1;
            if constexpr (mode != Mode::Forward) top1 = top1 * u + top;
            top = top * u + load<T>(w.at(m, p));
        }
        Vec<T> low = load<T>(w.at(tops + c.b - 1, p)), low1 = u - u, low2 = low1;
        for (int m = c.b - 2; m >= -1; --m) {
            if constexpr (mode == Mode::Double) low2 = low2 * u + low1;
            if constexpr (mode != Mode::Forward) low1 = low1 * u + low;
            low = low * u;
            if (m >= 0) low += load<T>(w.at(tops + m, p));
        }
        const Vec<T> d = T(1) / (T(1) + low * low);
        if constexpr (mode == Mode::Forward) store<T>(b.out[0] + v * n, top * d);
        if constexpr (mode != Mode::Forward) {
            const Vec<T> r = T(-2) * top * low * d * d;
            store<T>(b.out[0] + v * n, top1 * d + r * low1);
            if constexpr (mode == Mode::Gradient) {
                const Vec<T> h = load<T>(b.h + v * n);
                Vec<T> q = h * d;
                for (int m = 0; m < tops; ++m, q *= u) add<T>(b.sums.at(m, p), q);
                q = h * r * u;
                for (int m = 0; m < c.b; ++m, q *= u) add<T>(b.sums.at(tops + m, p), q);
            }
            if constexpr (mode == Mode::Double) {
                const Vec<T> d1 = T(-2) * low * low1 * d * d;  // (1/D)'
                const Vec<T> r1 = T(-2) * d * (d * (top1 * low + top * low1) + T(2) * top * low * d1);
                store<T>(b.out[1] + v * n, T(2) * top2 * d + top1 * d1 + r1 * low1 + T(2) * r * low2);
                const Vec<T> h = load<T>(b.h + v * n);
                Vec<T> q = h * d, s = h * d1;
                for (int m = 0; m < tops; ++m, q *= u, s *= u) add<T>(b.sums.at(m, p), q), add<T>(b.sums.at(tops + m, p), s);
                q = h * r, s = h * r1 * u;
                for (int m = 0; m < c.b; ++m, q *= u, s *= u)
                    add<T>(b.sums.at(2 * tops + m, p), q), add<T>(b.sums.at(2 * tops + c.b + m, p), s);
            }
        }
    });
}

template <class T, Mode mode>
void run(const Curve& c, const Block<T>& b) {
    switch (c.shape) {
        case Shape::Polynomial: return polynomial<T, mode>(c, b);
        case Shape::Piecewise: return piecewise<T, mode>(c, b);
        case Shape::Fourier: return fourier<T, mode>(c, b);
        case Shape::Gaussian: return gaussian<T, mode>(c, b);
        case Shape::Rational: return rational<T, mode>(c, b);
    }
}

}  // namespace taafs
