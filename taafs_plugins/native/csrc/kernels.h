// The kernels: one per shape of basis, each on a tile of u. They evaluate derivatives of the curve with respect to u and
// collect the raw sums of the coefficients' gradient.
//
// Numbers come as rows of vectors, one vector for each position p of a period: with share=layer the period is one vector with
// the same number in every lane; with share=neuron it is the shortest run of whole vectors that holds whole rows of the layer.
// A tile holds some positions of several periods, and a kernel does all periods at one position, then the next position:
// in between, the numbers and the sums, the same for all of them, stay in registers.
//
// Template arguments A and B are the curve's a and b where they are known at compile time (the default sizes), else 0.
#pragma once
#include <algorithm>
#include <array>

#include "curve.h"
#include "simd.h"

namespace taafs {

constexpr int kTile = 256;   // most vectors
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
    const T* h;              // weights of the sums
    int64_t u_step, h_step;  // from one period to the next
    int periods, vectors;    // vectors: positions of each period that are in the tile
    int p, period;           // position of the first vector
    bool bounded;            // |u| <= 1 is certain
    Rows<T> rows[2];
    const T* tables[2];      // piecewise: a row of the intervals' numbers for each power, where a row fits a vector and is the same for all
    T* out[2];               // dense: [periods, vectors]
    Rows<T> sums;
};

constexpr int orders(Mode mode) { return mode == Mode::Double ? 2 : 1; }
constexpr int first_order(Mode mode) { return mode == Mode::Forward ? 0 : 1; }
constexpr int sum_order(Mode mode) { return mode == Mode::Double ? 1 : 0; }
constexpr bool with_sums(Mode mode) { return mode == Mode::Gradient || mode == Mode::Double; }

// The numbers and sums of one position: in registers where their counts N (numbers of each order) and M (sums) are known.
template <class T, Mode mode, int N, int M>
struct Store {
    const T* rows[2];
    T* sums;
    int raw;
    Vec<T> known[2][N ? N : 1], collected[M ? M : 1];

    Store(const Block<T>& b, int p) : rows{b.rows[0].at(0, p), b.rows[1].at(0, p)}, sums(b.sums.at(0, p)), raw(b.sums.count) {
        if constexpr (N > 0)
            for (int o = 0; o < orders(mode); ++o)
                for (int m = 0; m < N; ++m) known[o][m] = m < b.rows[o].count ? load<T>(rows[o] + m * Lanes<T>::n) : Vec<T>{};
        if constexpr (M > 0)
            for (int m = 0; m < M; ++m) collected[m] = Vec<T>{};
    }
    ~Store() {
        if constexpr (M > 0 && with_sums(mode))
            for (int m = 0; m < M && m < raw; ++m) put(m, get(m) + collected[m]);
    }
    Vec<T> number(int o, int m) const {
        if constexpr (N > 0) return known[o][m];
        return load<T>(rows[o] + m * Lanes<T>::n);
    }
    void add(int m, Vec<T> v) {
        if constexpr (M > 0)
            collected[m] += v;
        else
            put(m, get(m) + v);
    }
    void add_where(IntVec<T> mask, int m, Vec<T> v) {
        if constexpr (M > 0) {
            collected[m] = mask ? collected[m] + v : collected[m];
        } else {
            const Vec<T> sum = get(m);
            put(m, mask ? sum + v : sum);
        }
    }

  private:
    Vec<T> get(int m) const { return load<T>(sums + m * Lanes<T>::n); }
    void put(int m, Vec<T> v) { store<T>(sums + m * Lanes<T>::n, v); }
};

// One vector of the tile.
template <class T>
struct Place {
    const T *u, *h;
    int64_t out;
};

// Calls body(place) for one position of every period.
template <class T, class Body>
inline void each_period(const Block<T>& b, int j, Body body) {
    constexpr int n = Lanes<T>::n;
    for (int r = 0; r < b.periods; ++r) body(Place<T>{b.u + r * b.u_step + j * n, b.h + r * b.h_step + j * n, int64_t(r * b.vectors + j) * n});
}

template <class T, Mode mode, int A, int B>
void polynomial(const Curve& c, const Block<T> b) {
    constexpr int n = Lanes<T>::n;
    const int powers = B ? B : c.b;
    const auto terms = [&](int order) { return std::max(powers - order, 1); };
    for (int j = 0; j < b.vectors; ++j) {
        Store<T, mode, B, B> s(b, (b.p + j) % b.period);
        const auto group = [&]<int G>(int r) {  // G chains of dependent multiply-adds at a time
            Vec<T> u[G];
            for (int i = 0; i < G; ++i) u[i] = load<T>(b.u + (r + i) * b.u_step + j * n);
            for (int o = 0; o < orders(mode); ++o) {
                const int top = terms(first_order(mode) + o) - 1;
                Vec<T> y[G];
                for (int i = 0; i < G; ++i) y[i] = s.number(o, top);
                for (int m = top - 1; m >= 0; --m)
                    for (int i = 0; i < G; ++i) y[i] = y[i] * u[i] + s.number(o, m);
                for (int i = 0; i < G; ++i) store<T>(b.out[o] + ((r + i) * b.vectors + j) * n, y[i]);
            }
            if constexpr (with_sums(mode)) {
                const int count = terms(sum_order(mode));
                Vec<T> q[G];
                for (int i = 0; i < G; ++i) q[i] = load<T>(b.h + (r + i) * b.h_step + j * n);
                for (int m = 0; m < count; ++m)
                    for (int i = 0; i < G; ++i) {
                        s.add(m, q[i]);
                        q[i] *= u[i];
                    }
            }
        };
        int r = 0;
        for (; r + 4 <= b.periods; r += 4) group.template operator()<4>(r);
        for (; r < b.periods; ++r) group.template operator()<1>(r);
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

// Forward and Backward where the numbers of all intervals are the same for every element and fit one register for each power.
template <class T, Mode mode, int A, int B>
void table(const Curve&, const Block<T> b) {
    constexpr int n = Lanes<T>::n, powers = B - first_order(mode);
    Vec<T> numbers[powers];
    for (int m = 0; m < powers; ++m) numbers[m] = load<T>(b.tables[0] + m * n);
    for (int j = 0; j < b.vectors; ++j)
        each_period(b, j, [&](Place<T> at) {
            const Vec<T> x = (load<T>(at.u) + T(1)) * T(0.5 * A);
            Vec<T> inside = x > T(0) ? x : Vec<T>{};  // NaN goes to interval 0 and stays in t
            inside = inside < T(A - 1) ? inside : Vec<T>{} + T(A - 1);
            const IntVec<T> index = __builtin_convertvector(inside, IntVec<T>);
            const Vec<T> t = x - __builtin_convertvector(index, Vec<T>);
            Vec<T> y = shuffle<T>(numbers[powers - 1], index);
            unrolled<powers - 1>([&](auto m) { y = y * t + shuffle<T>(numbers[powers - 2 - m], index); });
            store<T>(b.out[0] + at.out, y);
        });
}

template <class T, Mode mode, int A, int B>
void piecewise(const Curve& c, const Block<T> b) {
    constexpr int n = Lanes<T>::n;
    using Int = typename Lanes<T>::Int;
    const int pieces = A ? A : c.a, powers = B ? B : c.b;
    const auto terms = [&](int order) { return std::max(powers - order, 1); };
    for (int j = 0; j < b.vectors; ++j) {
        Store<T, mode, 0, with_sums(mode) ? A * B : 0> s(b, (b.p + j) % b.period);
        each_period(b, j, [&](Place<T> at) {
            const Vec<T> u = load<T>(at.u);
            const Vec<T> x = (u + T(1)) * T(0.5 * pieces);
            Vec<T> inside = x > T(0) ? x : Vec<T>{};  // NaN goes to interval 0 and stays in t
            inside = inside < T(pieces - 1) ? inside : Vec<T>{} + T(pieces - 1);
            const IntVec<T> index = __builtin_convertvector(inside, IntVec<T>);
            const Vec<T> t = x - __builtin_convertvector(index, Vec<T>);
            for (int o = 0; o < orders(mode); ++o) {
                auto number = [&](int m) {
                    if (b.tables[o]) return shuffle<T>(load<T>(b.tables[o] + m * n), index);
                    Vec<T> chosen;
                    if (pieces <= kSelect) {
                        chosen = s.number(o, m * pieces);
                        for (int i = 1; i < pieces; ++i) chosen = index == Int(i) ? s.number(o, m * pieces + i) : chosen;
                    } else {
                        for (int l = 0; l < n; ++l) chosen[l] = s.rows[o][(m * pieces + int(index[l])) * n + l];
                    }
                    return chosen;
                };
                const int top = terms(first_order(mode) + o) - 1;
                Vec<T> y = number(top);
                if (top == 0) y += u - u;  // constant pieces: a NaN must still come out as one
                for (int m = top - 1; m >= 0; --m) y = y * t + number(m);
                store<T>(b.out[o] + at.out, y);
            }
            if constexpr (with_sums(mode)) {
                Vec<T> q = load<T>(at.h);
                for (int m = 0; m < terms(sum_order(mode)); ++m) {
                    if (pieces <= kSelect)
                        for (int i = 0; i < pieces; ++i) s.add_where(index == Int(i), m * pieces + i, q);
                    else
                        for (int l = 0; l < n; ++l) s.sums[(m * pieces + int(index[l])) * n + l] += q[l];
                    q *= t;
                }
            }
        });
    }
}

// See spline_matrix in curve.h. |t| <= 5/2.
template <class T, Mode mode>
void spline(const Curve&, const Block<T> b) {
    constexpr int n = Lanes<T>::n, sums = 8 - sum_order(mode);
    for (int j = 0; j < b.vectors; ++j) {
        Store<T, mode, 8, with_sums(mode) ? sums : 0> s(b, (b.p + j) % b.period);
        each_period(b, j, [&](Place<T> at) {
            const Vec<T> t = load<T>(at.u) * T(2.5), size = t < T(0) ? -t : t;
            const IntVec<T> right = t > T(0);
            Vec<T> near = size - T(0.5), far = size - T(1.5);
            near = near > T(0) ? near : Vec<T>{};
            far = far > T(0) ? far : Vec<T>{};
            const Vec<T> near2 = near * near, far2 = far * far;
            unrolled<orders(mode)>([&](auto o) {
                constexpr int order = first_order(mode) + o, cubics = 4 - order;
                Vec<T> y = s.number(o, cubics - 1);
                unrolled<cubics - 1>([&](auto m) { y = y * t + s.number(o, cubics - 2 - m); });
                const Vec<T> d = right ? s.number(o, cubics + 2) : s.number(o, cubics), e = right ? s.number(o, cubics + 3) : s.number(o, cubics + 1);
                if constexpr (order == 0) y += d * (near2 * near) + e * (far2 * far);
                if constexpr (order == 1) y += d * near2 + e * far2;
                if constexpr (order == 2) y += d * near + e * far;
                store<T>(b.out[o] + at.out, y);
            });
            if constexpr (with_sums(mode)) {
                constexpr int cubics = 4 - sum_order(mode);
                const Vec<T> h = load<T>(at.h);
                Vec<T> q = h;
                unrolled<cubics>([&](auto m) {
                    s.add(m, q);
                    q *= t;
                });
                const Vec<T> a = h * (mode == Mode::Double ? near2 : near2 * near), e = h * (mode == Mode::Double ? far2 : far2 * far);
                s.add(cubics, right ? Vec<T>{} : a);
                s.add(cubics + 1, right ? Vec<T>{} : e);
                s.add(cubics + 2, right ? a : Vec<T>{});
                s.add(cubics + 3, right ? e : Vec<T>{});
            }
        });
    }
}

// Up to kWaves waves by powers of cos u (wave_powers in curve.cpp), more by
// cos (m + 1) u = 2 cos u cos m u - cos (m - 1) u, the same for the sine.
template <class T, Mode mode, int A, int B>
void fourier(const Curve& c, const Block<T> b) {
    constexpr int n = Lanes<T>::n;
    const int waves = A ? A : c.a;
    for (int j = 0; j < b.vectors; ++j) {
        Store<T, mode, A ? 2 * A + 1 : 0, A ? 2 * A + 1 : 0> s(b, (b.p + j) % b.period);
        each_period(b, j, [&](Place<T> at) {
            const Vec<T> u = load<T>(at.u);
            Vec<T> sin, cos, y[2], h;
            if (A || b.bounded)
                sincos_small<T>(u, sin, cos);
            else
                for (int l = 0; l < n; ++l) sin[l] = std::sin(u[l]), cos[l] = std::cos(u[l]);
            if constexpr (with_sums(mode)) h = load<T>(at.h);
            if (waves <= kWaves) {
                for (int o = 0; o < orders(mode); ++o) {
                    Vec<T> even = s.number(o, waves), odd = s.number(o, 2 * waves);
                    for (int m = waves - 1; m >= 0; --m) even = even * cos + s.number(o, m);
                    for (int m = waves - 2; m >= 0; --m) odd = odd * cos + s.number(o, waves + 1 + m);
                    store<T>(b.out[o] + at.out, even + sin * odd);
                }
                if constexpr (with_sums(mode)) {
                    Vec<T> q = h;
                    for (int m = 0; m <= waves; ++m, q *= cos) s.add(m, q);
                    q = h * sin;
                    for (int m = 0; m < waves; ++m, q *= cos) s.add(waves + 1 + m, q);
                }
                return;
            }
            const Vec<T> twice = cos + cos;
            Vec<T> sin_before = {}, cos_before = Vec<T>{} + T(1);
            for (int o = 0; o < orders(mode); ++o) y[o] = s.number(o, 0);
            if constexpr (with_sums(mode)) s.add(0, h);
            for (int m = 1; m <= waves; ++m) {
                for (int o = 0; o < orders(mode); ++o) y[o] += s.number(o, 2 * m - 1) * cos + s.number(o, 2 * m) * sin;
                if constexpr (with_sums(mode)) {
                    s.add(2 * m - 1, h * cos);
                    s.add(2 * m, h * sin);
                }
                const Vec<T> next_cos = twice * cos - cos_before, next_sin = twice * sin - sin_before;
                cos_before = cos, sin_before = sin;
                cos = next_cos, sin = next_sin;
            }
            for (int o = 0; o < orders(mode); ++o) store<T>(b.out[o] + at.out, y[o]);
        });
    }
}

// exp(-t^2), or (1 - t^2) exp(-t^2/2), with t_k = t_0 - k: each bell by its own exponential.
template <class T, Mode mode, bool hat>
void bells(const Curve& c, const Block<T> b) {
    const int grid = c.a;
    const T a = hat ? T(0.5) : T(1), inverse = T(0.5 * (grid - 1));
    for (int j = 0; j < b.vectors; ++j) {
        Store<T, mode, 0, 0> s(b, (b.p + j) % b.period);
        each_period(b, j, [&](Place<T> at) {
            Vec<T> t = (load<T>(at.u) + T(1)) * inverse;
            Vec<T> y[2] = {}, h;
            if constexpr (with_sums(mode)) h = load<T>(at.h);
            for (int k = 0; k < grid; ++k) {
                const Vec<T> t2 = t * t, e = exp_of<T>(-a * t2).value();
                Vec<T> f[3];  // the function and its derivatives, as far as they are used
                f[0] = hat ? e - t2 * e : e;
                if constexpr (mode != Mode::Forward) f[1] = hat ? t * (t2 - T(3)) * e : T(-2) * t * e;
                if constexpr (mode == Mode::Double) f[2] = hat ? (t2 * (T(6) - t2) - T(3)) * e : (T(4) * t2 - T(2)) * e;
                for (int o = 0; o < orders(mode); ++o) y[o] += s.number(o, k) * f[first_order(mode) + o];
                if constexpr (with_sums(mode)) s.add(k, h * f[sum_order(mode)]);
                t -= T(1);
            }
            for (int o = 0; o < orders(mode); ++o) store<T>(b.out[o] + at.out, y[o]);
        });
    }
}

// The same for a small grid: with s the distance from the middle and k' the place of a centre on that scale,
//   exp(-a (s - k')^2) = E X^k e^(-a k'^2),  X = exp(2 a s),  E = exp(-a s^2 - 2 a s k'_max),
// so that the curve is E times a polynomial in X, and a sum over elements of E X^k h is a moment. Nothing underflows on the way.
//
// With p_i = sum_k w_k k'^i X^k the derivatives of Gaussians are E times a polynomial in s and p_i. So are Mexican hats; their
// third and fourth powers of (s - k') would cancel too many digits of a float, which takes hat by hat there.
template <class T, Mode mode, bool hat, int A>
void few_bells(const Curve&, const Block<T> b) {
    constexpr double a = hat ? 0.5 : 1.0, end = 0.5 * (A - 1), in_twos = 1.4426950408889634 * a;
    constexpr bool by_moments = !hat || mode == Mode::Forward;
    constexpr int moments = (mode == Mode::Forward ? 0 : mode == Mode::Double ? 2 : 1) + (hat ? 2 : 0);
    static const std::array<T, A> heights = [] {
        std::array<T, A> h;
        for (int k = 0; k < A; ++k) h[k] = T(std::exp(-a * (k - end) * (k - end)));
        return h;
    }();
    for (int j = 0; j < b.vectors; ++j) {
        Store<T, mode, A, 0> s(b, (b.p + j) % b.period);
        Vec<T> sums[A] = {}, weights[moments + 1][A];
        for (int o = 0; o < orders(mode); ++o)
            for (int k = 0; k < A; ++k) s.known[o][k] *= heights[k];
        for (int k = 0; k < A; ++k) {
            weights[0][k] = s.known[0][k];
            for (int i = 1; i <= moments; ++i) weights[i][k] = weights[i - 1][k] * T(k - end);
        }
        each_period(b, j, [&](Place<T> at) {
            const Vec<T> x = load<T>(at.u) * T(end);
            const Vec<T> ratio = exp2_of<T>(T(2 * in_twos) * x), e = exp2_of<T>(T(-in_twos) * x * (x + T(2 * end)));
            Vec<T> q;
            if constexpr (with_sums(mode)) q = load<T>(at.h) * e;
            if constexpr (by_moments) {
                Vec<T> p[moments + 1];
                for (int i = 0; i <= moments; ++i) p[i] = weights[i][A - 1];
                for (int k = A - 2; k >= 0; --k)
                    for (int i = 0; i <= moments; ++i) p[i] = p[i] * ratio + weights[i][k];
                const Vec<T> x2 = x * x;
                Vec<T> y, y2;  // divided by e, and y2 by end
                if constexpr (!hat) {
                    if constexpr (mode == Mode::Forward) y = p[0];
                    if constexpr (mode != Mode::Forward) y = T(2) * (p[1] - x * p[0]);
                    if constexpr (mode == Mode::Double) y2 = (T(4) * x2 - T(2)) * p[0] - T(8) * x * p[1] + T(4) * p[2];
                } else {
                    if constexpr (mode == Mode::Forward) y = (T(1) - x2) * p[0] + T(2) * x * p[1] - p[2];
                    if constexpr (mode != Mode::Forward) y = x * (x2 - T(3)) * p[0] + T(3) * ((T(1) - x2) * p[1] + x * p[2]) - p[3];
                    if constexpr (mode == Mode::Double)
                        y2 = (x2 * (T(6) - x2) - T(3)) * p[0] + T(4) * x * ((x2 - T(3)) * p[1] + p[3]) + T(6) * (T(1) - x2) * p[2] - p[4];
                }
                store<T>(b.out[0] + at.out, y * e);
                if constexpr (mode == Mode::Double) store<T>(b.out[1] + at.out, T(end) * y2 * e);
            } else {
                Vec<T> y[2] = {};
                for (int k = A - 1; k >= 0; --k) {
                    const Vec<T> t = x - T(k - end), t2 = t * t;
                    y[0] = y[0] * ratio + s.known[0][k] * (t * (t2 - T(3)));
                    if constexpr (mode == Mode::Double) y[1] = y[1] * ratio + s.known[1][k] * (t2 * (T(6) - t2) - T(3));
                }
                for (int o = 0; o < orders(mode); ++o) store<T>(b.out[o] + at.out, y[o] * e);
            }
            if constexpr (with_sums(mode))
                for (int k = 0; k < A; ++k, q *= ratio) {
                    const Vec<T> t = x - T(k - end);
                    if constexpr (!hat)
                        sums[k] += mode == Mode::Double ? q * t : q;
                    else
                        sums[k] += q * (mode == Mode::Double ? t * (t * t - T(3)) : T(1) - t * t);
                }
        });
        if constexpr (with_sums(mode))
            for (int k = 0; k < A; ++k) s.add(k, sums[k] * (heights[k] * (mode == Mode::Double && !hat ? T(-2) : T(1))));
    }
}

template <class T, Mode mode, int A, int B>
void gaussian(const Curve& c, const Block<T> b) {
    if constexpr (A > 0) return c.b ? few_bells<T, mode, true, A>(c, b) : few_bells<T, mode, false, A>(c, b);
    return c.b ? bells<T, mode, true>(c, b) : bells<T, mode, false>(c, b);
}

// f = P / D, D = 1 + Q^2; with r = -2PQ / D^2 (= df/dQ): f' = P'/D + rQ', f'' = P''/D - P'D'/D^2 + r'Q' + rQ''.
template <class T, Mode mode, int A, int B>
void rational(const Curve& c, const Block<T> b) {
    const int tops = (A ? A : c.a) + 1, lows = B ? B : c.b;
    constexpr int known = A ? A + 1 + B : 0;
    for (int j = 0; j < b.vectors; ++j) {
        Store<T, mode, known, known * (mode == Mode::Double ? 2 : 1)> s(b, (b.p + j) % b.period);
        each_period(b, j, [&](Place<T> at) {
            const Vec<T> u = load<T>(at.u);
            Vec<T> top = s.number(0, tops - 1), top1 = u - u, top2 = top1;
            for (int m = tops - 2; m >= 0; --m) {  // P, P' and P''/2 by Horner's rule
                if constexpr (mode == Mode::Double) top2 = top2 * u + top1;
                if constexpr (mode != Mode::Forward) top1 = top1 * u + top;
                top = top * u + s.number(0, m);
            }
            Vec<T> low = s.number(0, tops + lows - 1), low1 = u - u, low2 = low1;
            for (int m = lows - 2; m >= -1; --m) {
                if constexpr (mode == Mode::Double) low2 = low2 * u + low1;
                if constexpr (mode != Mode::Forward) low1 = low1 * u + low;
                low = low * u;
                if (m >= 0) low += s.number(0, tops + m);
            }
            const Vec<T> d = T(1) / (T(1) + low * low);
            if constexpr (mode == Mode::Forward) store<T>(b.out[0] + at.out, top * d);
            if constexpr (mode != Mode::Forward) {
                const Vec<T> r = T(-2) * top * low * d * d;
                store<T>(b.out[0] + at.out, top1 * d + r * low1);
                if constexpr (mode == Mode::Gradient) {
                    const Vec<T> h = load<T>(at.h);
                    Vec<T> q = h * d;
                    for (int m = 0; m < tops; ++m, q *= u) s.add(m, q);
                    q = h * r * u;
                    for (int m = 0; m < lows; ++m, q *= u) s.add(tops + m, q);
                }
                if constexpr (mode == Mode::Double) {
                    const Vec<T> d1 = T(-2) * low * low1 * d * d;  // (1/D)'
                    const Vec<T> r1 = T(-2) * d * (d * (top1 * low + top * low1) + T(2) * top * low * d1);
                    store<T>(b.out[1] + at.out, T(2) * top2 * d + top1 * d1 + r1 * low1 + T(2) * r * low2);
                    const Vec<T> h = load<T>(at.h);
                    Vec<T> q = h * d, w = h * d1;
                    for (int m = 0; m < tops; ++m, q *= u, w *= u) s.add(m, q), s.add(tops + m, w);
                    q = h * r, w = h * r1 * u;
                    for (int m = 0; m < lows; ++m, q *= u, w *= u) s.add(2 * tops + m, q), s.add(2 * tops + lows + m, w);
                }
            }
        });
    }
}

template <class T, Mode mode>
void run(const Curve& c, const Block<T> b) {
    const auto is = [&](int a, int d) { return b.bounded && c.a == a && c.b == d; };
    switch (c.shape) {
        case Shape::Polynomial: return is(8, 8) ? polynomial<T, mode, 8, 8>(c, b) : polynomial<T, mode, 0, 0>(c, b);
        case Shape::Piecewise:
            if constexpr (!with_sums(mode) && kVectorBytes == 64)
                if (is(Lanes<T>::n, bell_powers(Lanes<T>::n)) && b.tables[0]) return table<T, mode, Lanes<T>::n, bell_powers(Lanes<T>::n)>(c, b);
            return is(5, 4) ? piecewise<T, mode, 5, 4>(c, b) : piecewise<T, mode, 0, 0>(c, b);
        case Shape::Spline: return spline<T, mode>(c, b);
        case Shape::Fourier: return is(4, 0) ? fourier<T, mode, 4, 0>(c, b) : fourier<T, mode, 0, 0>(c, b);
        case Shape::Gaussian: return is(8, c.b) ? gaussian<T, mode, 8, 0>(c, b) : gaussian<T, mode, 0, 0>(c, b);
        case Shape::Rational: return is(5, 2) ? rational<T, mode, 5, 2>(c, b) : rational<T, mode, 0, 0>(c, b);
    }
}

}  // namespace taafs
