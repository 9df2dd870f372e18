// Autograd by nodes of our own, as torch's own operators have them: torch::autograd::Function costs microseconds more a call.
// These are internals of torch, so only for versions they were tested with; functions.h serves any other.
#pragma once
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "derivatives.h"
#include "empty_node.h"

namespace taafs {

using torch::autograd::SavedVariable;

template <class N, class... Variables>
auto new_node(const Settings& s, const Variables&... inputs) {
    auto node = empty_node<N>();
    node->set_next_edges(torch::autograd::collect_next_edges(inputs...));
    node->settings = s;
    return node;
}

// The derivatives of backward_values' gz and gdelta.
struct BackwardNode : torch::autograd::Node {
    SavedVariable x, gy, delta;
    Settings settings;

    std::string name() const override { return "TaafsActivationBackwardBackward"; }

    void release_variables() override {
        const std::lock_guard<std::mutex> lock(mutex_);
        x.reset_data(), gy.reset_data(), delta.reset_data();
    }

    variable_list apply(variable_list&& grads) override {
        const std::lock_guard<std::mutex> lock(mutex_);
        const Tensor hz = grads[0], hdelta = grads.size() > 1 ? grads[1] : Tensor();
        if (!hz.defined() && !hdelta.defined()) return variable_list(3);
        return second_derivatives(settings, x.unpack(), gy.unpack(), delta.unpack(), hz, hdelta);
    }
};

inline std::pair<Tensor, Tensor> backward(const Settings& s, const Tensor& x, const Tensor& gy, const Tensor& delta, bool want_delta) {
    Tensor gz, gdelta;
    {
        at::AutoDispatchBelowADInplaceOrView below;
        gz = backward_values(s, x, gy, {}, delta, true, want_delta ? &gdelta : nullptr);
    }
    if (!torch::autograd::compute_requires_grad(x, gy, delta)) return {gz, gdelta};
    const auto node = new_node<BackwardNode>(s, x, gy, delta);
    torch::autograd::set_history(gz, node);
    if (want_delta) torch::autograd::set_history(gdelta, node);
    node->x = SavedVariable(x, false), node->gy = SavedVariable(gy, false), node->delta = SavedVariable(delta, false);
    return {gz, gdelta};
}

struct ForwardNode : torch::autograd::Node {
    SavedVariable x, delta;  // x is z, or with from_u the output u
    Settings settings;

    std::string name() const override { return "TaafsActivationBackward"; }

    void release_variables() override {
        const std::lock_guard<std::mutex> lock(mutex_);
        x.reset_data(), delta.reset_data();
    }

    variable_list apply(variable_list&& grads) override {
        const std::lock_guard<std::mutex> lock(mutex_);
        const Tensor &gy = grads[0], gu = grads.size() > 1 ? grads[1] : Tensor();
        const Tensor x = this->x.unpack(settings.curve.from_u ? getptr() : nullptr);
        return first_derivatives(settings, x, gy, gu, delta.unpack(), task_should_compute_output(1));
    }
};

// With from_u, u is a second output: derivatives of gz come back through it, and neither z nor a second sum is kept.
inline Tensor forward(const Settings& s, const Tensor& z, const Tensor& delta) {
    Tensor y, u;
    {
        at::AutoDispatchBelowADInplaceOrView below;
        std::tie(y, u) = forward_values(s, z, delta);
    }
    const auto node = new_node<ForwardNode>(s, z, delta);
    torch::autograd::set_history(y, node);
    if (s.curve.from_u) torch::autograd::set_history(u, node);
    node->x = SavedVariable(s.curve.from_u ? u : z, s.curve.from_u), node->delta = SavedVariable(delta, false);
    return y;
}

}  // namespace taafs
