// Expressions that must round as torch's own kernels do; built with -ffp-contract=off.
#include <cmath>

#include "sweep.h"

namespace taafs {

template <class T>
void one_minus_square(const T* u, T* s, int64_t n, bool fma) {
    if (fma)
        for (int64_t i = 0; i < n; ++i) s[i] = std::fma(-u[i], u[i], T(1));
    else
        for (int64_t i = 0; i < n; ++i) s[i] = T(1) - u[i] * u[i];
}

template <class T>
void silu_backward_in_place(const T* gy, const T* z, T* s, int64_t n) {
    for (int64_t i = 0; i < n; ++i) s[i] = gy[i] * s[i] * (T(1) + z[i] * (T(1) - s[i]));
}

template void one_minus_square(const float*, float*, int64_t, bool);
template void one_minus_square(const double*, double*, int64_t, bool);
template void silu_backward_in_place(const float*, const float*, float*, int64_t);
template void silu_backward_in_place(const double*, const double*, double*, int64_t);

}  // namespace taafs
