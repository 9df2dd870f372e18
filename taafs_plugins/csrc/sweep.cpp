#include "sweep.h"

#include <numeric>
#include <vector>

#include "kernels.h"

namespace taafs {

namespace {

// u = squash(z / scale), and with `order` du/dz and d2u/dz2. Loops that the compiler turns into vectors.
template <class T>
void squash_block(Squash kind, T inverse, const T* z, int n, int order, T* u, T* s1, T* s2) {
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

// First and second derivative of silu.
template <class T>
void silu_block(const T* z, int n, T* f1, T* f2) {
    for (int j = 0; j < n; ++j) {
        const T s = sigmoid_of(z[j]), slope = s * (1 - s);
        const T x = slope == 0 ? T(0) : z[j];  // far out z * slope is 0, also where z * z overflows
        f1[j] = s + x * slope + (z[j] - z[j]);
        f2[j] = slope * (2 + x * (1 - 2 * s));
    }
}

}  // namespace

template <class T>
struct Sweep<T>::Plan {
    Curve curve;
    Mode mode;
    int64_t channels;
    int period;
    int64_t stride;
    int raw = 0;
    std::vector<T> numbers;
    int64_t offset[2] = {0, 0};
    int counts[2] = {0, 0};

    Plan(const Curve& c, Mode m, const double* theta, int64_t width) : curve(c), mode(m), channels(width) {
        constexpr int n = Lanes<T>::n;
        period = int(width / std::gcd(width, int64_t(n)));
        stride = int64_t(period + kGroup - 1) * n;
        for (int o = 0; o < orders(mode); ++o) {
            for (int64_t ch = 0; ch < width; ++ch) {
                const std::vector<double> rows = kernel_rows(c, theta + ch * c.numbers, first_order(mode) + o);
                if (ch == 0) {
                    offset[o] = int64_t(numbers.size());
                    counts[o] = int(rows.size());
                    numbers.resize(numbers.size() + rows.size() * stride);
                }
                for (size_t r = 0; r < rows.size(); ++r)
                    for (int64_t l = ch; l < stride; l += width) numbers[offset[o] + int64_t(r) * stride + l] = T(rows[r]);
            }
        }
        if (with_sums(mode)) raw = raw_rows(c, sum_order(mode));
    }

    template <Mode M>
    void chunk(const Data<T>& d, int64_t begin, int64_t end, double* sums) const;
    template <Mode M>
    void block(const Data<T>& d, int64_t at, int count, Block<T>& b) const;
};

// One block: squash, kernel, and what the chain rule makes of the two, all in first-level cache.
template <class T>
template <Mode M>
void Sweep<T>::Plan::block(const Data<T>& d, int64_t at, int count, Block<T>& b) const {
    constexpr int n = Lanes<T>::n;
    alignas(64) T buffers[10][kBlock];
    const int whole = (count + kGroup * n - 1) / (kGroup * n) * (kGroup * n);
    // The last block is copied to where it can be padded with zeros.
    auto input = [&](const T* data, T* buffer) -> const T* {
        if (!data) return nullptr;
        if (whole == count) return data + at;
        std::copy(data + at, data + at + count, buffer);
        std::fill(buffer + count, buffer + whole, T(0));
        return buffer;
    };
    const T* x = input(d.x, buffers[0]);
    const T* gy = input(d.gy, buffers[1]);
    const T* gu = input(d.gu, buffers[2]);
    const T* hz = input(d.hz, buffers[3]);
    T *u = buffers[4], *s1 = buffers[5], *s2 = buffers[6], *h = buffers[7], *f1 = buffers[8], *f2 = buffers[9];

    b.vectors = whole / n;
    b.out[0] = f1;
    b.out[1] = f2;
    if (curve.from_u) {
        b.u = x;
        if constexpr (M != Mode::Forward) one_minus_square(x, s1, whole, d.fma);
    } else {
        squash_block(curve.squash, T(1 / curve.scale), x, whole, first_order(M), u, s1, s2);
        b.u = u;
    }
    b.h = gy;
    if constexpr (M == Mode::Double) {
        for (int j = 0; j < whole; ++j) h[j] = hz[j] * gy[j] * s1[j];
        b.h = h;
    }
    run<T, M>(curve, b);

    T* out = d.out + at;
    const bool tanh_base = curve.base == Base::Tanh;
    if constexpr (M == Mode::Forward) {
        if (tanh_base)
            for (int j = 0; j < count; ++j) out[j] = x[j] + f1[j];
        else if (curve.base == Base::Silu)
            for (int j = 0; j < count; ++j) out[j] += f1[j];
        else
            std::copy(f1, f1 + count, out);
    } else if constexpr (M != Mode::Double) {
        if (tanh_base)
            for (int j = 0; j < count; ++j) {
                const T t = gy[j] * s1[j];
                out[j] = t + t * f1[j];
            }
        else if (curve.base == Base::Silu) {
            if (d.out_is_sigmoid) silu_backward_in_place(gy, x, out, count);
            for (int j = 0; j < count; ++j) out[j] += gy[j] * s1[j] * f1[j];
        } else
            for (int j = 0; j < count; ++j) out[j] = gy[j] * s1[j] * f1[j];
        if (gu)
            for (int j = 0; j < count; ++j) out[j] += gu[j] * s1[j];
    } else {
        T* out2 = d.out2 + at;
        if (curve.from_u) {
            const T one = tanh_base;
            for (int j = 0; j < count; ++j) {
                const T slope = one + f1[j];
                out[j] = hz[j] * s1[j] * slope;
                out2[j] = hz[j] * gy[j] * (s1[j] * f2[j] - 2 * x[j] * slope);
            }
        } else {
            for (int j = 0; j < whole; ++j) {
                f2[j] = s1[j] * s1[j] * f2[j] + s2[j] * f1[j];
                f1[j] = s1[j] * f1[j];
            }
            if (curve.base == Base::Silu) {
                silu_block(x, whole, s1, s2);
                for (int j = 0; j < whole; ++j) f1[j] += s1[j], f2[j] += s2[j];
            }
            for (int j = 0; j < count; ++j) {
                out[j] = hz[j] * f1[j];
                out2[j] = hz[j] * gy[j] * f2[j];
            }
        }
    }
}

template <class T>
template <Mode M>
void Sweep<T>::Plan::chunk(const Data<T>& d, int64_t begin, int64_t end, double* sums) const {
    constexpr int n = Lanes<T>::n;
    std::vector<T> lanes(raw * stride);
    Block<T> b;
    b.period = period;
    b.uniform = channels == 1;
    b.bounded = curve.squash != Squash::Linear;
    for (int o = 0; o < orders(M); ++o) b.rows[o] = {const_cast<T*>(numbers.data()) + offset[o], counts[o], stride};
    b.sums = {lanes.data(), raw, stride};
    for (int64_t at = begin; at < end; at += kBlock) {
        b.p = int(at / n % period);
        block<M>(d, at, int(std::min<int64_t>(kBlock, end - at)), b);
    }
    if constexpr (with_sums(M)) {
        std::fill(sums, sums + raw * channels, 0.0);
        for (int r = 0; r < raw; ++r)
            for (int64_t l = 0; l < stride; ++l) sums[r * channels + l % channels] += lanes[r * stride + l];
    }
}

template <class T>
Sweep<T>::Sweep(const Curve& c, Mode mode, const double* theta, int64_t channels)
    : plan_(std::make_unique<Plan>(c, mode, theta, channels)) {}

template <class T>
Sweep<T>::~Sweep() = default;

template <class T>
int64_t Sweep<T>::sums() const {
    return plan_->raw * plan_->channels;
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
    std::vector<double> raw(plan.raw);
    for (int64_t ch = 0; ch < plan.channels; ++ch) {
        for (int r = 0; r < plan.raw; ++r) raw[r] = sums[r * plan.channels + ch];
        taafs::fold(plan.curve, raw.data(), sum_order(plan.mode), grad + ch * plan.curve.numbers);
    }
}

template class Sweep<float>;
template class Sweep<double>;

}  // namespace taafs
