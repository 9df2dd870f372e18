#include "sweep.h"

#include <cstdlib>
#include <new>
#include <numeric>
#include <vector>

#include "kernels.h"

namespace taafs {

namespace {

constexpr int kAcross = 32;              // most positions of a tile: memory is best read in order
constexpr int kDown = kTile / kAcross;  // least periods
constexpr int64_t kLargest = 1 << 18;  // elements; what a chunk of very wide layers may have

// u = squash(z / scale), and with `order` du/dz and d2u/dz2. Loops that the compiler turns into vectors.
template <class T>
void squash_block(Squash kind, T inverse, const T* __restrict z, int n, int order, T* __restrict u, T* __restrict s1, T* __restrict s2) {
    switch (kind) {
        case Squash::Tanh:
            for (int j = 0; j < n; ++j) u[j] = tanh_of(z[j] * inverse);
            if (order)
                for (int j = 0; j < n; ++j) {
                    const T s = 1 - u[j] * u[j];
                    s1[j] = s * inverse;
                    s2[j] = -2 * u[j] * s * inverse * inverse;
                }
            break;
        case Squash::Softsign:
            for (int j = 0; j < n; ++j) {
                T x = z[j] * inverse;
                const T big = sizeof(T) == 8 ? T(1e300) : T(1e37);  // keeps inf / inf away
                x = x > big ? big : (x < -big ? -big : x);
                const T a = 1 / (1 + (x < 0 ? -x : x));
                u[j] = x * a;
                s1[j] = a * a * inverse;
                s2[j] = (x < 0 ? 2 : -2) * (a * a) * (a * inverse * inverse);
            }
            break;
        case Squash::Algebraic:
            for (int j = 0; j < n; ++j) {
                const T x = z[j] * inverse;
                const T size = x < 0 ? -x : x;
                const bool far = size > 1;  // x^2 would overflow
                const T near = far ? 1 / size : size;
                const T root = 1 / std::sqrt(1 + near * near);
                const T c = far ? near * root : root;
                u[j] = far ? (x < 0 ? -root : root) : x * root;
                s1[j] = c * c * c * inverse;
                s2[j] = -3 * u[j] * (c * c) * (c * c) * (inverse * inverse);
            }
            break;
        case Squash::Linear:
            for (int j = 0; j < n; ++j) {
                u[j] = z[j] * inverse;
                s1[j] = inverse;
                s2[j] = u[j] - u[j];
            }
            break;
    }
}

// Forward: f1 = silu(z); else f1 and f2 its first two derivatives. with_u: also u = tanh(z) and its derivatives, of the same
// exponential.
template <bool forward, bool with_u, class T>
void silu_block(const T* __restrict z, int n, T* __restrict f1, T* __restrict f2, T* __restrict u, T* __restrict s1, T* __restrict s2) {
    for (int j = 0; j < n; ++j) {
        const Exp<T> parts = exp_parts(z[j] < 0 ? z[j] : -z[j]);
        const T m = exp_minus_one(parts), e = parts.value();  // e^-|z| - 1 and e^-|z|, both with all their digits
        const T e2 = 1 + e * e, both = 1 / ((1 + e) * e2);
        const T s = (z[j] < 0 ? e : T(1)) * (e2 * both);
        if constexpr (forward) {
            f1[j] = z[j] * s;
        } else {
            const T slope = s * (1 - s);
            const T x = slope == 0 ? T(0) : z[j];  // far out z * slope is 0, also where it would overflow
            f1[j] = s + x * slope;
            f2[j] = slope * (2 + x * (1 - 2 * s));
        }
        if constexpr (with_u) {
            const T t = -m * (1 + e) * ((1 + e) * both), signed_t = z[j] < 0 ? -t : t;
            u[j] = signed_t;
            s1[j] = 1 - t * t;
            s2[j] = -2 * signed_t * (1 - t * t);
        }
    }
}

// The same of celu(z) = z, or alpha (e^(z / alpha) - 1) for z < 0.
template <bool forward, class T>
void celu_block(const T* __restrict z, int n, T* __restrict f1, T* __restrict f2) {
    for (int j = 0; j < n; ++j) {
        const Exp<T> e = exp_parts(z[j] > 0 ? T(0) : z[j] * T(forward ? 1 / kCelu : kCeluRate));
        if constexpr (forward) {
            f1[j] = z[j] > 0 ? z[j] : T(kCelu) * exp_minus_one(e);
        } else {
            f1[j] = z[j] > 0 ? T(1) : T(kCelu * kCeluRate) * e.value();
            f2[j] = z[j] > 0 ? T(0) : T(kCelu * kCeluRate * kCeluRate) * e.value();
        }
    }
}

// Memory that starts at the beginning of a cache line.
template <class T>
struct Aligned {
    T* data = nullptr;
    size_t size = 0;
    Aligned() = default;
    explicit Aligned(size_t n) : size(n) {
        const size_t bytes = (n * sizeof(T) + 63) / 64 * 64;
        data = bytes ? static_cast<T*>(std::aligned_alloc(64, bytes)) : nullptr;
        if (bytes && !data) throw std::bad_alloc();
        std::fill(data, data + n, T(0));
    }
    Aligned(const Aligned&) = delete;
    Aligned& operator=(Aligned&& other) noexcept {
        std::swap(data, other.data);
        std::swap(size, other.size);
        return *this;
    }
    ~Aligned() { std::free(data); }
};

}  // namespace

template <class T>
struct Sweep<T>::Plan {
    Curve curve;
    Mode mode;
    int64_t channels;
    int period;           // vectors
    int across, down;     // a tile: positions of a period, periods
    int64_t step;  // elements of a period
    int raw = 0;
    Aligned<T> numbers, tables[2];
    std::vector<double> spline;
    int64_t offset[2] = {0, 0};
    int counts[2] = {0, 0};

    Plan(const Curve& c, Mode m, const double* theta, int64_t width) : curve(c), mode(m), channels(width) {
        constexpr int n = Lanes<T>::n;
        // A cubic B-spline has two continuous derivatives. Where numbers are read lane by lane, or sums kept for each interval, the other form is shorter.
        if (c.shape == Shape::Piecewise && c.a == 5 && c.b == 4 && c.squash != Squash::Linear && (width > 1 || with_sums(m))) {
            curve.shape = Shape::Spline;
            spline = spline_matrix(c);
            curve.matrix = spline.data();
        }
        if (c.shape == Shape::Gaussian && c.a == kBells && c.squash != Squash::Linear && width == 1 && !with_sums(m) && kVectorBytes == 64) {
            curve.shape = Shape::Piecewise;
            curve.matrix = bell_pieces(c.b, n);
            curve.a = n;
            curve.b = bell_powers(n);
        }
        period = int(width / std::gcd(width, int64_t(n)));
        step = int64_t(period) * n;
        const int pieces = (period + kAcross - 1) / kAcross;
        across = (period + pieces - 1) / pieces;
        down = std::max(kDown, kTile / 4 / across / kDown * kDown);
        while (down > 1 && down * step > kLargest) down /= 2;
        if (with_sums(mode)) raw = raw_rows(curve, sum_order(mode));
        for (int o = 0; o < orders(mode); ++o) counts[o] = kernel_rows(curve, first_order(mode) + o);
        offset[1] = int64_t(counts[0]) * step;
        numbers = Aligned<T>(int64_t(counts[0] + counts[1]) * step);
        for (int o = 0; o < orders(mode); ++o) {
            const int count = counts[o];
            std::vector<double> rows(count * width);
            for (int64_t ch = 0; ch < width; ++ch) fill_rows(curve, theta + ch * c.numbers, first_order(mode) + o, rows.data() + ch * count);
            int64_t ch = 0;
            for (int p = 0; p < period; ++p)
                for (int l = 0; l < n; ++l, ch = ch + 1 == width ? 0 : ch + 1) {
                    T* lane = numbers.data + offset[o] + int64_t(p) * count * n + l;
                    for (int r = 0; r < count; ++r) lane[r * n] = T(rows[ch * count + r]);
                }
            if (curve.shape == Shape::Piecewise && width == 1 && curve.a <= n) {
                tables[o] = Aligned<T>(count / curve.a * n);
                for (int r = 0; r < count; ++r) tables[o].data[r / curve.a * n + r % curve.a] = T(rows[r]);
            }
        }
    }

    template <Mode M>
    void chunk(const Data<T>& d, int64_t begin, int64_t end, double* sums) const;
    template <Mode M>
    void tile(const Data<T>& d, int64_t at, int64_t end, Block<T> b) const;
};

// One tile: squash, kernel, and what the chain rule makes of the two, all in first-level cache. It begins at element `at`; only a
// tile of one period may reach beyond `end`.
template <class T>
template <Mode M>
void Sweep<T>::Plan::tile(const Data<T>& d, int64_t at, int64_t end, Block<T> b) const {
    constexpr int n = Lanes<T>::n, most = kTile * n;
    alignas(64) T buffers[12][most];
    // Runs of elements that lie side by side: one for each period, or a single one where the tile has all positions.
    const bool single = b.vectors == period;
    const int runs = single ? 1 : b.periods, whole = b.vectors * n * (single ? b.periods : 1);
    const int count = int(std::min<int64_t>(whole, end - at));
    // What is beyond the end is padded with zeros.
    auto input = [&](const T* data, T* buffer) -> const T* {
        if (!data) return nullptr;
        if (count == whole) return data + at;
        std::copy(data + at, data + at + count, buffer);
        std::fill(buffer + count, buffer + whole, T(0));
        return buffer;
    };
    const T* in_x = input(d.x, buffers[0]);
    const T* in_gy = input(d.gy, buffers[1]);
    const T* in_gu = input(d.gu, buffers[2]);
    const T* in_hz = input(d.hz, buffers[3]);
    const int64_t dense = int64_t(b.vectors) * n;
    const bool silu = curve.base == Base::Silu && !d.base_given, celu = curve.base == Base::Celu && !d.base_given;
    const bool added = silu || celu;  // the base is made here; else its part is in out already, or there is none
    const bool tanh_base = curve.base == Base::Tanh;

    b.out[0] = buffers[8];
    b.out[1] = buffers[9];
    if (!curve.from_u || (M == Mode::Forward && d.u_out))
        b.u = buffers[4], b.u_step = dense;
    else
        b.u = in_x, b.u_step = step;
    if constexpr (M == Mode::Double)
        b.h = buffers[7], b.h_step = dense;
    else
        b.h = in_gy, b.h_step = step;

    for (int r = 0; r < runs; ++r) {
        const int64_t here = r * step, there = r * dense;
        const T* x = in_x + here;
        T *u = buffers[4] + there, *s1 = buffers[5] + there, *s2 = buffers[6] + there, *h = buffers[7] + there;
        T *b1 = buffers[10] + there, *b2 = buffers[11] + there;  // the base (Forward) or its first two derivatives
        if (!curve.from_u) {
            const bool one_exp = silu && curve.squash == Squash::Tanh && curve.scale == 1.0;
            if (silu) {
                constexpr bool forward = M == Mode::Forward;
                one_exp ? silu_block<forward, true>(x, whole, b1, b2, u, s1, s2) : silu_block<forward, false>(x, whole, b1, b2, u, s1, s2);
            }
            if (celu) celu_block<M == Mode::Forward>(x, whole, b1, b2);
            if (!one_exp) squash_block(curve.squash, T(1 / curve.scale), x, whole, first_order(M), u, s1, s2);
        } else if (M == Mode::Forward && d.u_out) {
            for (int j = 0; j < whole; ++j) u[j] = tanh_of(x[j]);
            std::copy(u, u + count, d.u_out + at + here);
        } else if constexpr (M != Mode::Forward) {
            one_minus_square(x, s1, whole, d.fma);
        }
        if constexpr (M == Mode::Double) {
            const T *gy = in_gy + here, *hz = in_hz + here;
            for (int j = 0; j < whole; ++j) h[j] = hz[j] * gy[j] * s1[j];
        }
    }

    run<T, M>(curve, b);

    for (int r = 0; r < runs; ++r) {
        const int64_t here = r * step, there = r * dense;
        const T* x = in_x + here;
        const T *u = b.u + r * b.u_step, *s1 = buffers[5] + there, *s2 = buffers[6] + there, *f1 = buffers[8] + there, *f2 = buffers[9] + there;
        const T *b1 = buffers[10] + there, *b2 = buffers[11] + there;
        T* out = d.out + at + here;
        if constexpr (M == Mode::Forward) {
            if (tanh_base)
                for (int j = 0; j < count; ++j) out[j] = u[j] + f1[j];
            else if (added)
                for (int j = 0; j < count; ++j) out[j] = b1[j] + f1[j];
            else if (d.base_given)
                for (int j = 0; j < count; ++j) out[j] += f1[j];
            else
                std::copy(f1, f1 + count, out);
        } else if constexpr (M != Mode::Double) {
            const T* gy = in_gy + here;
            if (tanh_base)
                for (int j = 0; j < count; ++j) {
                    const T t = gy[j] * s1[j];
                    out[j] = t + t * f1[j];
                }
            else if (added)
                for (int j = 0; j < count; ++j) out[j] = gy[j] * (b1[j] + s1[j] * f1[j]);
            else if (d.base_given) {
                if (d.out_is_sigmoid) silu_backward_in_place(gy, x, out, count);
                for (int j = 0; j < count; ++j) out[j] += gy[j] * s1[j] * f1[j];
            } else
                for (int j = 0; j < count; ++j) out[j] = gy[j] * s1[j] * f1[j];
            if (in_gu) {
                const T* gu = in_gu + here;
                for (int j = 0; j < count; ++j) out[j] += gu[j] * s1[j];
            }
        } else {
            const T *gy = in_gy + here, *hz = in_hz + here;
            T* out2 = d.out2 + at + here;
            if (curve.from_u) {
                const T one = tanh_base;
                for (int j = 0; j < count; ++j) {
                    const T slope = one + f1[j];
                    out[j] = hz[j] * s1[j] * slope;
                    out2[j] = hz[j] * gy[j] * (s1[j] * f2[j] - 2 * x[j] * slope);
                }
            } else if (added) {
                for (int j = 0; j < count; ++j) {
                    out[j] = hz[j] * (b1[j] + s1[j] * f1[j]);
                    out2[j] = hz[j] * gy[j] * (b2[j] + s1[j] * s1[j] * f2[j] + s2[j] * f1[j]);
                }
            } else {
                for (int j = 0; j < count; ++j) {
                    out[j] = hz[j] * (s1[j] * f1[j]);
                    out2[j] = hz[j] * gy[j] * (s1[j] * s1[j] * f2[j] + s2[j] * f1[j]);
                }
            }
        }
    }
}

template <class T>
template <Mode M>
void Sweep<T>::Plan::chunk(const Data<T>& d, int64_t begin, int64_t end, double* sums) const {
    constexpr int n = Lanes<T>::n;
    Aligned<T> lanes(int64_t(raw) * step);
    Block<T> b{};
    b.period = period;
    b.bounded = curve.squash != Squash::Linear;
    for (int o = 0; o < orders(M); ++o) b.rows[o] = {numbers.data + offset[o], counts[o]}, b.tables[o] = tables[o].data;
    b.sums = {lanes.data, raw};
    for (int64_t at = begin; at < end;) {  // chunks begin at position 0
        b.periods = int(std::clamp<int64_t>((end - at) / step, 1, down));
        for (b.p = 0; b.p < period && at + b.p * n < end; b.p += across) {
            b.vectors = std::min(across, period - b.p);
            tile<M>(d, at + b.p * n, end, b);
        }
        at += b.periods * step;
    }
    if constexpr (with_sums(M))  // lanes of the same neuron are added here, side by side with other chunks
        for (int p = 0; p < period; ++p)
            for (int r = 0; r < raw; ++r) {
                const T* lane = lanes.data + (int64_t(p) * raw + r) * n;
                double* row = sums + r * channels;
                for (int64_t l = 0, ch = int64_t(p) * n % channels; l < n; ch = 0) {
                    const int64_t run = std::min(n - l, channels - ch);
                    for (int64_t i = 0; i < run; ++i) row[ch + i] += lane[l + i];
                    l += run;
                }
            }
}

template <class T>
Sweep<T>::Sweep(const Curve& c, Mode mode, const double* theta, int64_t channels)
    : plan_(std::make_unique<Plan>(c, mode, theta, channels)) {}

template <class T>
Sweep<T>::~Sweep() = default;

template <class T>
int64_t Sweep<T>::sums() const {
    return int64_t(plan_->raw) * plan_->channels;
}

template <class T>
int64_t Sweep<T>::chunk_size(int64_t n) const {
    const int64_t about = std::max<int64_t>(n / kChunk, 1);
    const int64_t chunks = about > 8 ? (about + 7) / 8 * 8 : about > 4 ? 8 : about > 2 ? 4 : about;
    const int64_t step = plan_->step, periods = (n + step - 1) / step;
    return std::max<int64_t>((periods + chunks - 1) / chunks, 1) * step;
}

template <class T>
void Sweep<T>::chunk(const Data<T>& d, int64_t begin, int64_t end, double* sums) const {
    switch (plan_->mode) {
        case Mode::Forward: return plan_->template chunk<Mode::Forward>(d, begin, end, sums);
        case Mode::Backward: return plan_->template chunk<Mode::Backward>(d, begin, end, sums);
        case Mode::Gradient: return plan_->template chunk<Mode::Gradient>(d, begin, end, sums);
        case Mode::Double: return plan_->template chunk<Mode::Double>(d, begin, end, sums);
    }
}

template <class T>
void Sweep<T>::fold(const double* sums, double* grad) const {
    const Plan& plan = *plan_;
    std::vector<double> of_channel(plan.raw);
    for (int64_t ch = 0; ch < plan.channels; ++ch) {
        for (int r = 0; r < plan.raw; ++r) of_channel[r] = sums[r * plan.channels + ch];
        taafs::fold(plan.curve, of_channel.data(), sum_order(plan.mode), grad + ch * plan.curve.numbers);
    }
}

template class Sweep<float>;
template class Sweep<double>;

}  // namespace taafs
