// The kernels: one per shape of basis, each on a block of u. They evaluate derivatives of the curve with respect to u and
// collect the raw sums of the coefficients' gradient.
//
// Numbers come as rows of vectors, one vector for each position p of a period: with share=layer the period is one vector with
// the same number in every lane; with share=neuron it is the shortest run of whole vectors that holds whole rows of the layer.
// A group is four vectors in a row; there are three positions more than the period has so that a group need not wrap.
//
// Template arguments A and B are the curve's a and b where they are known at compile time (the default sizes), else 0; `one` says
// that all elements have the same numbers. With both, numbers and sums stay in registers.
#pragma once
#include <algorithm>

#include "curve.h"
#include "simd.h"

namespace taafs {

constexpr int kGroup = 4;
constexpr int kBlockBytes = 2048;
template <class T>
constexpr int kBlock = kBlockBytes / sizeof(T);  // elements; divides kChunk, and is a whole number of groups
constexpr int kSelect = 12;  // up to so many intervals, choosing by comparison beats reading lane by lane

// `count` rows of vectors, position by position.
template <class T>
struct Rows {
    T* data = nullptr;
    int count = 0;
    T* at(int row, int p) const { return data + (int64_t(p) * count + row) * Lanes<T>::n; }
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

constexpr int orders(Mode mode) { return mode == Mode::Double ? 2 : 1; }
constexpr int first_order(Mode mode) { return mode == Mode::Forward ? 0 : 1; }
constexpr int sum_order(Mode mode) { return mode == Mode::Double ? 1 : 0; }
constexpr bool with_sums(Mode mode) { return mode == Mode::Gradient || mode == Mode::Double; }

// A block's numbers and sums: in registers where their count N is known, else where they are.
template <class T, Mode mode, int N>
struct Store {
    Rows<T> rows[2], sums;  // copies, which no store through a pointer can change
    Vec<T> known[2][N ? N : 1], collected[N ? N : 1];

    // The counts are the block's own; given again so that the compiler knows them where the kernel does.
    Store(const Block<T>& b, int count0, int count1, int raw) : rows{b.rows[0], b.rows[1]}, sums(b.sums) {
        rows[0].count = count0, rows[1].count = count1, sums.count = raw;
        if constexpr (N > 0) {
            for (int o = 0; o < orders(mode); ++o)
                for (int m = 0; m < N; ++m) known[o][m] = m < rows[o].count ? load<T>(rows[o].at(m, 0)) : Vec<T>{};
            for (int m = 0; m < N; ++m) collected[m] = Vec<T>{};
        }
    }
    ~Store() {
        if constexpr (N > 0 && with_sums(mode))
            for (int m = 0; m < N && m < sums.count; ++m) store<T>(sums.at(m, 0), load<T>(sums.at(m, 0)) + collected[m]);
    }
    Vec<T> number(int o, int m, int p) const {
        if constexpr (N > 0) return known[o][m];
        return load<T>(rows[o].at(m, p));
    }
    void add(int m, int p, Vec<T> v) {
        if constexpr (N > 0)
            collected[m] += v;
        else
            store<T>(sums.at(m, p), load<T>(sums.at(m, p)) + v);
    }
    void add_where(IntVec<T> mask, int m, int p, Vec<T> v) {
        if constexpr (N > 0) {
            collected[m] = mask ? collected[m] + v : collected[m];
        } else {
            const Vec<T> sum = load<T>(sums.at(m, p));
            store<T>(sums.at(m, p), mask ? sum + v : sum);
        }
    }
};

// Calls body(v, p): vector number and its position.
template <class T, class Body>
inline void each_vector(const Block<T>& b, Body body) {
    int p = b.p;
    for (int g = 0; g < b.vectors; g += kGroup, p = b.next(p))
        for (int i = 0; i < kGroup; ++i) body(g + i, p + i);
}

template <class T, Mode mode, bool one, int A, int B>
void polynomial(const Curve& c, const Block<T> b) {
    constexpr int n = Lanes<T>::n;
    const int powers = B ? B : c.b;
    const auto terms = [&](int order) { return std::max(powers - order, 1); };
    Store<T, mode, one ? B : 0> s(b, terms(first_order(mode)), terms(first_order(mode) + 1), terms(sum_order(mode)));
    int p = b.p;
    for (int g = 0; g < b.vectors; g += kGroup, p = b.next(p)) {
        Vec<T> u[kGroup];  // four chains of dependent multiply-adds at a time
        for (int i = 0; i < kGroup; ++i) u[i] = load<T>(b.u + (g + i) * n);
        for (int o = 0; o < orders(mode); ++o) {
            const int top = terms(first_order(mode) + o) - 1;
            Vec<T> y[kGroup];
            for (int i = 0; i < kGroup; ++i) y[i] = s.number(o, top, p + i);
            for (int m = top - 1; m >= 0; --m)
                for (int i = 0; i < kGroup; ++i) y[i] = y[i] * u[i] + s.number(o, m, p + i);
            for (int i = 0; i < kGroup; ++i) store<T>(b.out[o] + (g + i) * n, y[i]);
        }
        if constexpr (with_sums(mode)) {
            const int count = terms(sum_order(mode));
            Vec<T> q[kGroup];
            for (int i = 0; i < kGroup; ++i) q[i] = load<T>(b.h + (g + i) * n);
            for (int m = 0; m < count; ++m)
                for (int i = 0; i < kGroup; ++i) {
                    s.add(m, p + i, q[i]);
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

template <class T, Mode mode, bool one, int A, int B>
void piecewise(const Curve& c, const Block<T> b) {
    constexpr int n = Lanes<T>::n;
    using Int = typename Lanes<T>::Int;
    const int pieces = A ? A : c.a, powers = B ? B : c.b;
    const bool in_register = one && pieces <= n;
    alignas(64) T tables[2][8 * n] = {};
    if (in_register)
        for (int o = 0; o < orders(mode); ++o)
            for (int r = 0; r < b.rows[o].count; ++r) tables[o][r / pieces * n + r % pieces] = *b.rows[o].at(r, 0);
    const auto terms = [&](int order) { return std::max(powers - order, 1); };
    Store<T, mode, one && with_sums(mode) ? A * B : 0> s(b, pieces * terms(first_order(mode)), pieces * terms(first_order(mode) + 1), pieces * terms(sum_order(mode)));
    each_vector(b, [&](int v, int p) {
        const Vec<T> u = load<T>(b.u + v * n);
        const Vec<T> x = (u + T(1)) * T(0.5 * pieces);
        Vec<T> inside = x > T(0) ? x : Vec<T>{};  // NaN goes to interval 0 and stays in t
        inside = inside < T(pieces - 1) ? inside : Vec<T>{} + T(pieces - 1);
        const IntVec<T> index = __builtin_convertvector(inside, IntVec<T>);
        const Vec<T> t = x - __builtin_convertvector(index, Vec<T>);
        for (int o = 0; o < orders(mode); ++o) {
            const Rows<T>& rows = s.rows[o];
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
            const int top = terms(first_order(mode) + o) - 1;
            Vec<T> y = number(top);
            if (top == 0) y += u - u;  // constant pieces: a NaN must still come out as one
            for (int m = top - 1; m >= 0; --m) y = y * t + number(m);
            store<T>(b.out[o] + v * n, y);
        }
        if constexpr (with_sums(mode)) {
            Vec<T> q = load<T>(b.h + v * n);
            for (int m = 0; m < terms(sum_order(mode)); ++m) {
                if (pieces <= kSelect)
                    for (int i = 0; i < pieces; ++i) s.add_where(index == Int(i), m * pieces + i, p, q);
                else
                    for (int l = 0; l < n; ++l) s.sums.at(m * pieces + int(index[l]), p)[l] += q[l];
                q *= t;
            }
        }
    });
}

template <class T, Mode mode, bool one, int A, int B>
void fourier(const Curve& c, const Block<T> b) {
    constexpr int n = Lanes<T>::n;
    const int waves = A ? A : c.a;
    const int count = 2 * waves + 1;
    Store<T, mode, one && A ? 2 * A + 1 : 0> s(b, count, count, count);
    alignas(64) T sines[kBlock<T>], cosines[kBlock<T>];
    if (b.bounded)
        for (int j = 0; j < b.vectors * n; ++j) sincos_small(b.u[j], sines[j], cosines[j]);
    else
        for (int j = 0; j < b.vectors * n; ++j) sines[j] = std::sin(b.u[j]), cosines[j] = std::cos(b.u[j]);
    each_vector(b, [&](int v, int p) {
        const Vec<T> sin1 = load<T>(sines + v * n), cos1 = load<T>(cosines + v * n);
        Vec<T> sin = sin1, cos = cos1, y[2], h;
        for (int o = 0; o < orders(mode); ++o) y[o] = s.number(o, 0, p);
        if constexpr (with_sums(mode)) {
            h = load<T>(b.h + v * n);
            s.add(0, p, h);
        }
        for (int m = 1; m <= waves; ++m) {
            for (int o = 0; o < orders(mode); ++o) y[o] += s.number(o, 2 * m - 1, p) * cos + s.number(o, 2 * m, p) * sin;
            if constexpr (with_sums(mode)) {
                s.add(2 * m - 1, p, h * cos);
                s.add(2 * m, p, h * sin);
            }
            const Vec<T> turned = cos * cos1 - sin * sin1;  // (m + 1) u from m u
            sin = sin * cos1 + cos * sin1;
            cos = turned;
        }
        for (int o = 0; o < orders(mode); ++o) store<T>(b.out[o] + v * n, y[o]);
    });
}

// exp(-t^2), or (1 - t^2) exp(-t^2/2), with t_k = t_0 - k. E_{k+1} = E_k R_k and R_{k+1} = R_k e^{-2a}, a = 1 or 1/2, save all but
// two exponentials while nothing can underflow on the way; else each has its own.
template <class T, Mode mode, bool one, bool hat, int A>
void bells(const Curve& c, const Block<T> b) {
    constexpr int n = Lanes<T>::n;
    const int grid = A ? A : c.a;
    Store<T, mode, one ? A : 0> s(b, grid, grid, grid);
    const T a = hat ? T(0.5) : T(1), inverse = T(0.5 * (grid - 1));
    const T reach = sizeof(T) == 8 ? 650 : 80;
    const bool recur = A || (b.bounded && a * (grid - 1) * (grid - 1) < reach);
    const T step = std::exp(-2 * a);
    alignas(64) T first[kBlock<T>], ratio[kBlock<T>];
    if (recur)
        for (int j = 0; j < b.vectors * n; ++j) {
            const T t = (b.u[j] + 1) * inverse;
            first[j] = exp_parts(-a * t * t).value();
            ratio[j] = exp_parts(a * (2 * t - 1)).value();
        }
    each_vector(b, [&](int v, int p) {
        Vec<T> t = (load<T>(b.u + v * n) + T(1)) * inverse;
        Vec<T> e = {}, r = {}, y[2] = {}, h;
        if (recur) e = load<T>(first + v * n), r = load<T>(ratio + v * n);
        if constexpr (with_sums(mode)) h = load<T>(b.h + v * n);
        for (int k = 0; k < grid; ++k) {
            const Vec<T> t2 = t * t;
            if (!recur)
                for (int l = 0; l < n; ++l) e[l] = exp_parts(-a * t2[l]).value();
            Vec<T> f[3];  // the function and its derivatives, as far as they are used
            f[0] = hat ? e - t2 * e : e;
            if constexpr (mode != Mode::Forward) f[1] = hat ? t * (t2 - T(3)) * e : T(-2) * t * e;
            if constexpr (mode == Mode::Double) f[2] = hat ? (t2 * (T(6) - t2) - T(3)) * e : (T(4) * t2 - T(2)) * e;
            for (int o = 0; o < orders(mode); ++o) y[o] += s.number(o, k, p) * f[first_order(mode) + o];
            if constexpr (with_sums(mode)) s.add(k, p, h * f[sum_order(mode)]);
            if (recur) {
                e *= r;
                r *= step;
            }
            t -= T(1);
        }
        for (int o = 0; o < orders(mode); ++o) store<T>(b.out[o] + v * n, y[o]);
    });
}

template <class T, Mode mode, bool one, int A, int B>
void gaussian(const Curve& c, const Block<T> b) {
    return c.b ? bells<T, mode, one, true, A>(c, b) : bells<T, mode, one, false, A>(c, b);
}

// f = P / D, D = 1 + Q^2; with r = -2PQ / D^2 (= df/dQ): f' = P'/D + rQ', f'' = P''/D - P'D'/D^2 + r'Q' + rQ''.
template <class T, Mode mode, bool one, int A, int B>
void rational(const Curve& c, const Block<T> b) {
    constexpr int n = Lanes<T>::n;
    const int tops = (A ? A : c.a) + 1, lows = B ? B : c.b;
    constexpr int known = one && A ? (A + 1 + B) * (mode == Mode::Double ? 2 : 1) : 0;
    const int count = tops + lows;
    Store<T, mode, known> s(b, count, count, mode == Mode::Double ? 2 * count : count);
    each_vector(b, [&](int v, int p) {
        const Vec<T> u = load<T>(b.u + v * n);
        Vec<T> top = s.number(0, tops - 1, p), top1 = u - u, top2 = top1;
        for (int m = tops - 2; m >= 0; --m) {  // P, P' and P''/2 by Horner's rule
            if constexpr (mode == Mode::Double) top2 = top2 * u + top1;
            if constexpr (mode != Mode::Forward) top1 = top1 * u + top;
            top = top * u + s.number(0, m, p);
        }
        Vec<T> low = s.number(0, tops + lows - 1, p), low1 = u - u, low2 = low1;
        for (int m = lows - 2; m >= -1; --m) {
            if constexpr (mode == Mode::Double) low2 = low2 * u + low1;
            if constexpr (mode != Mode::Forward) low1 = low1 * u + low;
            low = low * u;
            if (m >= 0) low += s.number(0, tops + m, p);
        }
        const Vec<T> d = T(1) / (T(1) + low * low);
        if constexpr (mode == Mode::Forward) store<T>(b.out[0] + v * n, top * d);
        if constexpr (mode != Mode::Forward) {
            const Vec<T> r = T(-2) * top * low * d * d;
            store<T>(b.out[0] + v * n, top1 * d + r * low1);
            if constexpr (mode == Mode::Gradient) {
                const Vec<T> h = load<T>(b.h + v * n);
                Vec<T> q = h * d;
                for (int m = 0; m < tops; ++m, q *= u) s.add(m, p, q);
                q = h * r * u;
                for (int m = 0; m < lows; ++m, q *= u) s.add(tops + m, p, q);
            }
            if constexpr (mode == Mode::Double) {
                const Vec<T> d1 = T(-2) * low * low1 * d * d;  // (1/D)'
                const Vec<T> r1 = T(-2) * d * (d * (top1 * low + top * low1) + T(2) * top * low * d1);
                store<T>(b.out[1] + v * n, T(2) * top2 * d + top1 * d1 + r1 * low1 + T(2) * r * low2);
                const Vec<T> h = load<T>(b.h + v * n);
                Vec<T> q = h * d, w = h * d1;
                for (int m = 0; m < tops; ++m, q *= u, w *= u) s.add(m, p, q), s.add(tops + m, p, w);
                q = h * r, w = h * r1 * u;
                for (int m = 0; m < lows; ++m, q *= u, w *= u) s.add(2 * tops + m, p, q), s.add(2 * tops + lows + m, p, w);
            }
        }
    });
}

template <class T, Mode mode, bool one>
void run(const Curve& c, const Block<T> b) {
    const auto is = [&](int a, int d) { return b.bounded && c.a == a && c.b == d; };
    switch (c.shape) {
        case Shape::Polynomial: return is(8, 8) ? polynomial<T, mode, one, 8, 8>(c, b) : polynomial<T, mode, one, 0, 0>(c, b);
        case Shape::Piecewise: return is(5, 4) ? piecewise<T, mode, one, 5, 4>(c, b) : piecewise<T, mode, one, 0, 0>(c, b);
        case Shape::Fourier: return is(4, 0) ? fourier<T, mode, one, 4, 0>(c, b) : fourier<T, mode, one, 0, 0>(c, b);
        case Shape::Gaussian: return is(8, c.b) ? gaussian<T, mode, one, 8, 0>(c, b) : gaussian<T, mode, one, 0, 0>(c, b);
        case Shape::Rational: return is(5, 2) ? rational<T, mode, one, 5, 2>(c, b) : rational<T, mode, one, 0, 0>(c, b);
    }
}

template <class T, Mode mode>
void run(const Curve& c, const Block<T> b) {
    return b.uniform ? run<T, mode, true>(c, b) : run<T, mode, false>(c, b);
}

}  // namespace taafs
