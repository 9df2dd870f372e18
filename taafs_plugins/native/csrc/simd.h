// Vectors of the machine's width and the few elementary functions that the kernels need. No torch, no intrinsics:
// GCC and Clang vector extensions where registers matter, plain loops that the compiler vectorises elsewhere.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace taafs {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct Lanes {
    static constexpr int n = kVectorBytes / sizeof(T);
    using Int = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
    typedef T Vec __attribute__((vector_size(kVectorBytes)));
    using Unsigned = std::make_unsigned_t<Int>;
    typedef Int IntVec __attribute__((vector_size(kVectorBytes)));
    typedef Unsigned UnsignedVec __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename Lanes<T>::Vec;
template <class T>
using IntVec = typename Lanes<T>::IntVec;

template <class T>
inline Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class T>
inline void store(T* p, Vec<T> v) {
    std::memcpy(p, &v, sizeof v);
}

// f(0), f(1), ... f(N - 1) with numbers known at compile time: what is indexed by them can stay in registers.
template <int N, class F>
inline void unrolled(F f) {
    [&]<int... I>(std::integer_sequence<int, I...>) { (f(std::integral_constant<int, I>{}), ...); }(std::make_integer_sequence<int, N>{});
}

// p(x) by Horner's rule, the highest power's number first; V is T or a vector of T.
template <class T, class V, class... Numbers>
inline V horner(V x, T top, Numbers... rest) {
    V p = V{} + top;
    ((p = p * x + T(rest)), ...);
    return p;
}

template <class To, class From>
inline To bits_as(From v) {
    static_assert(sizeof(To) == sizeof(From));
    To w;
    std::memcpy(&w, &v, sizeof w);
    return w;
}

// e^x = scale * (1 + q) for x <= 0, |q| < 0.42, so that both e^x and e^x - 1 keep all their digits. NaN gives q = NaN.
// Rounding to a whole power of two by adding 1.5 * 2^mantissa; On |r| <= ln(2) / 2 the best polynomial (double: Remez
// exchange, 2e-17 of e^r - 1) or Taylor's (float).
template <class V>
struct Exp {
    V scale, q;
    V value() const { return scale + scale * q; }
};
template <class T>
inline T exp_minus_one(Exp<T> e) {
    return e.scale * e.q + (e.scale - 1);
}

// T float or double, V the same or a vector of it.
template <class T, class V>
inline Exp<V> exp_of(V x) {
    using Whole = std::conditional_t<std::is_same_v<T, V>, typename Lanes<T>::Unsigned, typename Lanes<T>::UnsignedVec>;
    constexpr bool wide = sizeof(T) == 8;
    constexpr T lowest = wide ? T(-708) : T(-87), shifter = wide ? T(6755399441055744.0) : T(12582912.0);
    constexpr T high = wide ? T(0.693147180369123816490) : T(0.693359375), low = wide ? T(1.90821492927058770002e-10) : T(-2.12194440e-4);
    x = x < lowest ? V{} + lowest : x;
    const V shifted = x * T(1.4426950408889634) + shifter;
    const V n = shifted - shifter;
    const V r = (x - n * high) - n * low;
    V p;
    if constexpr (wide)
        p = horner<T>(r, T(2.5105259538448493e-8), 2.7626426376580333e-7, 2.7557255297969644e-6, 2.4801504180837138e-5, 1.9841269874901259e-4,
                      1.3888888932619635e-3, 8.3333333333261121e-3, 4.1666666666572768e-2, 0.16666666666666671, 0.50000000000000057);
    else
        p = horner<T>(r, T(1.0 / 5040.0), 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5);
    const Whole bits = (bits_as<Whole>(shifted) + (wide ? 1023 : 127)) << (wide ? 52 : 23);
    return {bits_as<V>(bits), (p * r) * r + r};
}
template <class T>
inline Exp<T> exp_parts(T x) {
    return exp_of<T>(x);
}

template <class T>
inline T tanh_of(T x) {
    const T a = x < 0 ? x : -x;
    const T m = exp_minus_one(exp_parts(a + a));  // in (-1, 0]
    const T t = m / (2 + m);                      // -tanh|x|
    return x < 0 ? t : -t;
}

// 2^x for |x| < 100, to 2e-16 or 2e-9 of the value: the best polynomial for |r| <= 1/2 (Remez exchange). NaN gives NaN.
template <class T>
inline Vec<T> exp2_of(Vec<T> x) {
    using Whole = typename Lanes<T>::UnsignedVec;
    constexpr bool wide = sizeof(T) == 8;
    constexpr T shifter = wide ? T(6755399441055744.0) : T(12582912.0);
    const Vec<T> shifted = x + shifter, r = x - (shifted - shifter);
    Vec<T> p;
    if constexpr (wide)
        p = horner<T>(r, T(7.0372795305828035e-9), 1.0208537904552164e-7, 1.3215662831846103e-6, 1.5252658116561384e-5, 1.5403529961135956e-4,
                      1.3333558228561475e-3, 9.618129108034589e-3, 5.5504108664458833e-2, 0.24022650695908768, 0.69314718055994978, 1.0);
    else
        p = horner<T>(r, T(1.5345812161311630e-4), 1.3399931177239738e-3, 9.6184889563311816e-3, 5.5503287771053248e-2, 0.24022646890645521,
                      0.69314720573719575, 1.0);
    return bits_as<Vec<T>>(bits_as<Whole>(p) + (bits_as<Whole>(shifted) << (wide ? 52 : 23)));
}

// sin and cos for |u| <= 1 by the best polynomials in u^2 (Remez exchange): off by at most 1e-16 or 3e-8 of the value; a NaN stays a NaN.
template <class T, class V>
inline void sincos_small(V u, V& s, V& c) {
    const V x = u * u;
    V p, q;
    if constexpr (sizeof(T) == 8) {
        p = horner<T>(x, T(1.5795275456281849e-10), -2.5048528628260070e-8, 2.7557295260741612e-6, -1.9841269759976643e-4, 8.3333333332061842e-3,
                      -0.16666666666666002);
        q = horner<T>(x, T(-1.1279350578777050e-11), 2.0873627932525025e-9, -2.7557292588009810e-7, 2.4801587176385790e-5, -1.3888888888572338e-3,
                      4.1666666666662844e-2, -0.49999999999999984);
    } else {
        p = horner<T>(x, T(-1.9313293672738999e-4), 8.3302428251804899e-3, -0.16666614769513629);
        q = horner<T>(x, T(2.4118642479979969e-5), -1.3882958634293023e-3, 4.1666460888536672e-2, -0.49999997736599734);
    }
    s = (p * x) * u + u;
    c = q * x + T(1);
}

}  // namespace taafs
