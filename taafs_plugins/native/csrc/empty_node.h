// A node of the autograd graph without its edges: how torch counts references to one changed with 2.13.
#pragma once
#include <torch/csrc/autograd/function.h>
#include <torch/version.h>

#include <memory>

namespace taafs {

#if TORCH_VERSION_MINOR >= 13
template <class N>
auto empty_node() {
    return c10::make_intrusive<N>();
}
#else
template <class N>
auto empty_node() {
    return std::shared_ptr<N>(new N(), torch::autograd::deleteNode);
}
#endif

}  // namespace taafs
