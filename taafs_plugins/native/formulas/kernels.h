// What all kernels of formulas have in common: functions of vectors, and the loops over the elements. No torch.
#pragma once
#include <cstdint>
#include <cstring>
#include <limits>

#include "../csrc/simd.h"

namespace taafs_formulas {

using taafs::IntVec;
using taafs::Lanes;
using taafs::Vec;

enum class Mode { Forward, Backward, Gradient, Curvature, Double };  // Gradient: Backward with the numbers' gradient; Double: Curvature with it

// Pointers to n elements; numbers [K][tile], tile 1 for one set of numbers, else a multiple of the width and of the vectors' lanes.
template <class T>
struct Data {
    const T *z, *gy, *hz;
    T *out, *out2;
    const T* numbers;
    int64_t tile;
};

// Whether a lane of a comparison is true: halves are folded onto each other in registers.
typedef int64_t Words2 __attribute__((vector_size(16)));
typedef int64_t Words4 __attribute__((vector_size(32)));
typedef int64_t Words8 __attribute__((vector_size(64)));
inline bool any_word(Words2 w) { return (w[0] | w[1]) != 0; }
inline bool any_word(Words4 w) { return any_word(__builtin_shufflevector(w, w, 0, 1) | __builtin_shufflevector(w, w, 2, 3)); }
inline bool any_word(Words8 w) { return any_word(__builtin_shufflevector(w, w, 0, 1, 2, 3) | __builtin_shufflevector(w, w, 4, 5, 6, 7)); }
template <class I>
inline bool any(I lanes) {
    using Words = std::conditional_t<sizeof(I) == 64, Words8, std::conditional_t<sizeof(I) == 32, Words4, Words2>>;
    return any_word((Words)lanes);
}

template <class V>
inline V absolute(V x) {
    return x < 0 ? -x : x;
}

template <class T, class V>
inline V sign_(V x) {
    return x < 0 ? V{} + T(-1) : V{} + T(1);
}

// e^x for x <= 80 or so, exactly 0 where it is not a normal number.
template <class T, class V>
inline V exp_(V x) {
    constexpr T lowest = sizeof(T) == 8 ? T(-708) : T(-87);
    const V e = taafs::exp_of<T>(x).value();
    return x < lowest ? V{} : e;
}
template <class T, class V>
inline V expm1_(V x) {
    const auto e = taafs::exp_of<T>(x);
    return e.scale * e.q + (e.scale - T(1));
}
// A function and its derivative's partner share exponential and reciprocal once they are inlined side by side.
template <class T, class V>
inline V sigmoid_(V x) {
    const V e = exp_<T>(-absolute(x)), r = T(1) / (e + T(1));
    return x < 0 ? e * r : r;
}
template <class T, class V>
inline V cosigmoid_(V x) {
    const V e = exp_<T>(-absolute(x)), r = T(1) / (e + T(1));
    return x < 0 ? r : e * r;
}
// By e^-|x|, as the others, so that they share it: m is e^-2|x| - 1 with all its digits.
template <class T, class V>
inline V tanh_(V x) {
    const V n = expm1_<T>(-absolute(x)), m = n * (n + T(2)), r = T(1) / (m + T(2));
    return x < 0 ? m * r : -m * r;
}
template <class T, class V>
inline V sech2_(V x) {
    const V v = -absolute(x), n = expm1_<T>(v), m = n * (n + T(2)), e = exp_<T>(v) * (T(1) / (m + T(2)));
    return T(4) * e * e;
}
// tanh(ln(1 + e^x)), and one minus its square
template <class T, class V>
inline V mish_(V x) {
    const V e = exp_<T>(-absolute(x)), n = x < 0 ? e * (e + T(2)) : T(1) + T(2) * e;
    const V r = T(1) / (n + (x < 0 ? V{} + T(2) : T(2) * e * e));
    return n * r;
}
template <class T, class V>
inline V comish_(V x) {
    const V e = exp_<T>(-absolute(x)), n = x < 0 ? e * (e + T(2)) : T(1) + T(2) * e;
    const V r = T(1) / (n + (x < 0 ? V{} + T(2) : T(2) * e * e)), a = (T(1) + e) * r * (x < 0 ? V{} + T(1) : e);
    return T(4) * a * a;
}

// One vector at i, where the numbers are p. Sums go to acc[k].
template <class F, class T, Mode mode>
inline void step(const Data<T>& d, const T* z, const T* gy, const T* hz, T* out, T* out2, const Vec<T>* p, Vec<T>* acc) {
    using V = Vec<T>;
    const V x = taafs::load(z);
    if constexpr (mode == Mode::Forward) {
        V f[1];
        F::template value<T>(x, p, f);
        taafs::store(out, f[0]);
    } else if constexpr (mode == Mode::Backward) {
        V f[1];
        F::template slope<T>(x, p, f);
        taafs::store(out, f[0] * taafs::load(gy));
    } else if constexpr (mode == Mode::Gradient) {
        V f[1 + F::K];
        F::template first<T>(x, p, f);
        const V g = taafs::load(gy);
        taafs::store(out, f[0] * g);
        for (int k = 0; k < F::K; ++k) acc[k] += g * f[1 + k];
    } else {
        V f[2 + F::K];
        F::template second<T>(x, p, f);
        const V h = taafs::load(hz), gh = taafs::load(gy) * h;
        taafs::store(out, f[0] * h);
        taafs::store(out2, f[1] * gh);
        if constexpr (mode == Mode::Double)
            for (int k = 0; k < F::K; ++k) acc[k] += gh * f[2 + k];
    }
}

// Elements first ... last - 1, first a multiple of the tile; sums [K][tile] of the numbers' gradients.
// All that it calls is inlined, so that functions of one argument share what they have in common.
template <class F, class T, Mode mode, bool single>
__attribute__((flatten)) void loop(const Data<T>& d, int64_t first, int64_t last, double* sums) {
    using V = Vec<T>;
    constexpr int L = Lanes<T>::n, K = F::K;
    const int64_t tile = single ? 1 : d.tile;
    V p[K], acc[K] = {};
    T rows[single ? 1 : K * 4096];
    if constexpr (single)
        for (int k = 0; k < K; ++k) p[k] = V{} + d.numbers[k];
    else
        std::memset(rows, 0, sizeof(T) * K * tile);
    int64_t t = 0;
    const auto at = [&](const T* z, const T* gy, const T* hz, T* out, T* out2) {
        if constexpr (!single)
            for (int k = 0; k < K; ++k) p[k] = taafs::load(d.numbers + k * tile + t), acc[k] = taafs::load(rows + k * tile + t);
        step<F, T, mode>(d, z, gy, hz, out, out2, p, acc);
        if constexpr (!single) {
            if constexpr (mode == Mode::Gradient || mode == Mode::Double)
                for (int k = 0; k < K; ++k) taafs::store(rows + k * tile + t, acc[k]);
            t = t + L == tile ? 0 : t + L;
        }
    };
    int64_t i = first;
    for (; i + L <= last; i += L) at(d.z + i, d.gy + i, d.hz + i, d.out + i, d.out2 + i);
    if (i < last) {
        T in[3][L] = {}, out[2][L];
        const size_t bytes = sizeof(T) * (last - i);
        const T* from[] = {d.z, d.gy, d.hz};
        for (int j = 0; j < 3; ++j)
            if (from[j]) std::memcpy(in[j], from[j] + i, bytes);
        at(in[0], in[1], in[2], out[0], out[1]);
        std::memcpy(d.out + i, out[0], bytes);
        if (mode >= Mode::Curvature) std::memcpy(d.out2 + i, out[1], bytes);
    }
    if constexpr (mode == Mode::Gradient || mode == Mode::Double) {
        if constexpr (single) {
            for (int k = 0; k < K; ++k)
                for (int j = 0; j < L; ++j) sums[k] += double(acc[k][j]);
        } else {
            for (int64_t j = 0; j < K * tile; ++j) sums[j] += double(rows[j]);
        }
    }
}

template <class F, class T>
void run(Mode mode, const Data<T>& d, int64_t first, int64_t last, double* sums) {
    const bool single = d.tile == 1;
    switch (mode) {
        case Mode::Forward: return single ? loop<F, T, Mode::Forward, true>(d, first, last, sums) : loop<F, T, Mode::Forward, false>(d, first, last, sums);
        case Mode::Backward: return single ? loop<F, T, Mode::Backward, true>(d, first, last, sums) : loop<F, T, Mode::Backward, false>(d, first, last, sums);
        case Mode::Gradient: return single ? loop<F, T, Mode::Gradient, true>(d, first, last, sums) : loop<F, T, Mode::Gradient, false>(d, first, last, sums);
        case Mode::Curvature: return single ? loop<F, T, Mode::Curvature, true>(d, first, last, sums) : loop<F, T, Mode::Curvature, false>(d, first, last, sums);
        default: return single ? loop<F, T, Mode::Double, true>(d, first, last, sums) : loop<F, T, Mode::Double, false>(d, first, last, sums);
    }
}

// By the number of the formula; generated.
void run_formula(int index, Mode mode, const Data<double>& d, int64_t first, int64_t last, double* sums);
void run_formula(int index, Mode mode, const Data<float>& d, int64_t first, int64_t last, double* sums);

}  // namespace taafs_formulas
