// Autograd by torch's public interface, for versions of torch whose internals (nodes.h) were not tested; some microseconds more a call.
#pragma once
#include <torch/csrc/autograd/custom_function.h>

#include "derivatives.h"

namespace taafs {

using torch::autograd::AutogradContext;

struct Kept : torch::CustomClassHolder {
    Settings settings;
};

inline void keep(AutogradContext* ctx, const Settings& s) {
    auto kept = c10::make_intrusive<Kept>();
    kept->settings = s;
    ctx->saved_data["settings"] = c10::IValue::make_capsule(std::move(kept));
    ctx->set_materialize_grads(false);
}

inline const Settings& kept(AutogradContext* ctx) {
    return static_cast<Kept*>(ctx->saved_data["settings"].toCapsule().get())->settings;
}

// Its node holds the derivatives of backward_values' gz and gdelta.
struct TaafsActivationBackward : torch::autograd::Function<TaafsActivationBackward> {
    static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& gy, const Tensor& delta, const Settings& s, bool want_delta) {
        ctx->save_for_backward({x, gy, delta});
        keep(ctx, s);
        Tensor gdelta;
        const Tensor gz = backward_values(s, x, gy, {}, delta, true, want_delta ? &gdelta : nullptr);
        return want_delta ? variable_list{gz, gdelta} : variable_list{gz};
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const Tensor hz = grads[0], hdelta = grads.size() > 1 ? grads[1] : Tensor();
        variable_list all(5);  // one for each argument of forward
        if (!hz.defined() && !hdelta.defined()) return all;
        const variable_list saved = ctx->get_saved_variables();
        const variable_list own = second_derivatives(kept(ctx), saved[0], saved[1], saved[2], hz, hdelta);
        std::copy(own.begin(), own.end(), all.begin());
        return all;
    }
};

inline std::pair<Tensor, Tensor> backward(const Settings& s, const Tensor& x, const Tensor& gy, const Tensor& delta, bool want_delta) {
    const variable_list out = TaafsActivationBackward::apply(x, gy, delta, s, want_delta);
    return {out[0], want_delta ? out[1] : Tensor()};
}

struct TaafsActivation : torch::autograd::Function<TaafsActivation> {
    // With from_u, u is a second output: derivatives of gz come back through it, and neither z nor a second sum is kept.
    static variable_list forward(AutogradContext* ctx, const Tensor& z, const Tensor& delta, const Settings& s) {
        const auto [y, u] = forward_values(s, z, delta);
        ctx->save_for_backward({s.curve.from_u ? u : z, delta});
        keep(ctx, s);
        return s.curve.from_u ? variable_list{y, u} : variable_list{y};
    }

    static variable_list backward(AutogradContext* ctx, variable_list grads) {
        const variable_list saved = ctx->get_saved_variables();
        const Tensor gu = grads.size() > 1 ? grads[1] : Tensor();
        variable_list own = first_derivatives(kept(ctx), saved[0], grads[0], gu, saved[1], ctx->needs_input_grad(1));
        own.emplace_back();
        return own;
    }
};

inline Tensor forward(const Settings& s, const Tensor& z, const Tensor& delta) { return TaafsActivation::apply(z, delta, s)[0]; }

}  // namespace taafs
