// One pass over all elements: everything a forward, backward or double backward needs, nothing of shape [..., K].
#pragma once
#include <memory>

#include "curve.h"

namespace taafs {

// Elements are worked off in chunks of about so many; each chunk leaves its own sums, and they are added in order, so a result
// does not depend on the number of threads.
constexpr int64_t kChunk = 32768;

// Pointers to contiguous data; null where a mode has no use for one.
template <class T>
struct Data {
    const T* x = nullptr;   // z, or u with from_u
    const T* gy = nullptr;  // Backward, Gradient, Double
    const T* gu = nullptr;  // Backward, Gradient with from_u: gradient that came back for u, or null
    const T* hz = nullptr;  // Double
    T* out = nullptr;       // y, gz or dgy
    T* out2 = nullptr;      // Double: dz, or du with from_u
    T* u_out = nullptr;     // Forward with from_u: x is z after all, and u is written here
    bool base_given = false;      // out comes with the base's part in it, as torch computes it, and the curve's is added ...
    bool out_is_sigmoid = false;  // ... or (Silu) with sigmoid(z), of which the base's part of gz is made as torch makes it
    bool fma = false;             // how torch's tanh_backward rounds 1 - u^2 on this machine
};

template <class T>
class Sweep {
  public:
    // theta [channels, numbers]; channels is 1 or the length of the last axis.
    Sweep(const Curve&, Mode, const double* theta, int64_t channels);
    ~Sweep();
    // Doubles that one chunk's sums take: 0 unless Gradient or Double.
    int64_t sums() const;
    // Elements of a chunk when there are n in all: as many as whole rows of the layer make whole vectors, and chunks of nearly the same
    // size in a number that 2, 4 or 8 threads share evenly.
    int64_t chunk_size(int64_t n) const;
    // Adds the chunk's to `sums` [raw, channels].
    void chunk(const Data<T>&, int64_t begin, int64_t end, double* sums) const;
    // Adds what all chunks' sums together make of grad [channels, numbers].
    void fold(const double* sums, double* grad) const;

  private:
    struct Plan;
    std::unique_ptr<Plan> plan_;
};

extern template class Sweep<float>;
extern template class Sweep<double>;

// Rounded exactly as torch rounds: compiled without contraction into fused multiply-adds.
// s = 1 - u^2, with or without one.
template <class T>
void one_minus_square(const T* u, T* s, int64_t n, bool fma);
// s (1 + z (1 - s)) gy over s = sigmoid(z), in place.
template <class T>
void silu_backward_in_place(const T* gy, const T* z, T* s, int64_t n);

}  // namespace taafs
