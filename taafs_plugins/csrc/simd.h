// Vectors of the machine's width and the few elementary functions that the kernels need. No torch, no intrinsics:
// GCC and Clang vector extensions where registers matter, plain loops that the compiler vectorises elsewhere.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

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
    typedef Int IntVec __attribute__((vector_size(kVectorBytes)));
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

// e^x = scale * (1 + q) for x <= 0, |q| < 0.42, so that both e^x and e^x - 1 keep all their digits. NaN gives q = NaN.
// Rounding to a whole power of two by adding 1.5 * 2^mantissa; Taylor to the last bit on |r| <= ln(2) / 2.
template <class T>
struct Exp {
    T scale, q;
    T value() const { return scale + scale * q; }
    T minus_one() const { return scale * q + (scale - 1); }
};

inline Exp<double> exp_parts(double x) {
    x = x < -708.0 ? -708.0 : x;
    const double shifted = x * 1.4426950408889634 + 6755399441055744.0;
    const double n = shifted - 6755399441055744.0;
    const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    const double q = (p * r) * r + r;
    const uint64_t bits = (std::bit_cast<uint64_t>(shifted) + 1023) << 52;
    return {std::bit_cast<double>(bits), q};
}

inline Exp<float> exp_parts(float x) {
    x = x < -87.0f ? -87.0f : x;
    const float shifted = x * 1.44269504f + 12582912.0f;
    const float n = shifted - 12582912.0f;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    const float q = (p * r) * r + r;
    const uint32_t bits = (std::bit_cast<uint32_t>(shifted) + 127) << 23;
    return {std::bit_cast<float>(bits), q};
}

template <class T>
inline T tanh_of(T x) {
    const T a = x < 0 ? x : -x;
    const T m = exp_parts(a + a).minus_one();  // in (-1, 0]
    const T t = m / (2 + m);                   // -tanh|x|
    return x < 0 ? t : -t;
}

// sin and cos for |u| <= 1 by Taylor, right to the last bit there; a NaN stays a NaN.
template <class T>
inline void sincos_small(T u, T& s, T& c) {
    const T x = u * u;
    if constexpr (sizeof(T) == 8) {
        T p = T(1.0 / 355687428096000.0);
        p = p * x - T(1.0 / 1307674368000.0);
        p = p * x + T(1.0 / 6227020800.0);
        p = p * x - T(1.0 / 39916800.0);
        p = p * x + T(1.0 / 362880.0);
        p = p * x - T(1.0 / 5040.0);
        p = p * x + T(1.0 / 120.0);
        p = p * x - T(1.0 / 6.0);
        s = (p * x) * u + u;
        T q = T(-1.0 / 6402373705728000.0);
        q = q * x + T(1.0 / 20922789888000.0);
        q = q * x - T(1.0 / 87178291200.0);
        q = q * x + T(1.0 / 479001600.0);
        q = q * x - T(1.0 / 3628800.0);
        q = q * x + T(1.0 / 40320.0);
        q = q * x - T(1.0 / 720.0);
        q = q * x + T(1.0 / 24.0);
        q = q * x - T(0.5);
        c = q * x + 1;
    } else {
        T p = T(-1.0 / 39916800.0);
        p = p * x + T(1.0 / 362880.0);
        p = p * x - T(1.0 / 5040.0);
        p = p * x + T(1.0 / 120.0);
        p = p * x - T(1.0 / 6.0);
        s = (p * x) * u + u;
        T q = T(-1.0 / 3628800.0);
        q = q * x + T(1.0 / 40320.0);
        q = q * x - T(1.0 / 720.0);
        q = q * x + T(1.0 / 24.0);
        q = q * x - T(0.5);
        c = q * x + 1;
    }
}

}  // namespace taafs
