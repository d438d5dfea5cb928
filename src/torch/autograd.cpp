// What training needs of libtorch: derivatives by given tensors, blocks that are computed again in
// the backward pass, and updates of many tensors at once.
#include "shim.h"

#include <ATen/ATen.h>
#include <ATen/SequenceNumber.h>
#include <c10/core/GradMode.h>
#include <string.h>
#include <string>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <unordered_set>
#include <vector>

namespace {

using at::Tensor;
using torch::autograd::AccumulateGrad;
using torch::autograd::edge_list;
using torch::autograd::Engine;
using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;
using torch::autograd::impl::gradient_edge;

template <typename F>
int guarded(char **error, F body) {
  try {
    body();
    return 1;
  } catch (const std::exception &e) {
    *error = strdup(e.what());
  } catch (...) {
    *error = strdup("an unknown C++ exception");
  }
  return 0;
}

variable_list list_of(const void *const *tensors, size_t count) {
  variable_list list;
  list.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    list.push_back(*static_cast<const Tensor *>(tensors[i]));
  }
  return list;
}

// The foreign closure of a recomputed block.
struct Body {
  void *closure;
  shutterbug_run_body run;
  void (*release)(void *);

  Body(void *closure, shutterbug_run_body run, void (*release)(void *))
      : closure(closure), run(run), release(release) {}
  Body(const Body &) = delete;
  Body &operator=(const Body &) = delete;
  ~Body() { release(closure); }

  // Runs it; its inputs are handed over, and its outputs handed back.
  variable_list operator()(const variable_list &inputs, size_t outputs) const {
    std::vector<void *> given, made(outputs, nullptr);
    for (const auto &input : inputs) {
      given.push_back(new Tensor(input));
    }
    std::string message;
    const int fine = run(closure, given.data(), given.size(), made.data(), made.size(), &message);
    TORCH_CHECK(fine, "a block failed when it was computed again: ", message);
    variable_list result;
    for (void *output : made) {
      auto *tensor = static_cast<Tensor *>(output);
      result.push_back(std::move(*tensor));
      delete tensor;
    }
    return result;
  }
};

// Stands in the graph for a whole block: keeps the block's inputs instead of its activations, and
// computes it again to differentiate it.
struct Recomputation : Node {
  std::unique_ptr<Body> body;
  std::vector<SavedVariable> inputs;
  std::vector<bool> input_differentiable;
  std::vector<bool> output_differentiable;
  // Leaves outside of the inputs on which the outputs depend: weights and adapters.
  variable_list leaves;

  std::string name() const override { return "Recomputation"; }

  void release_variables() override {
    body.reset();
    inputs.clear();
    leaves.clear();
  }

  variable_list apply(variable_list &&gradients) override {
    TORCH_CHECK(body, "a recomputed block can be differentiated once only");
    const at::AutoGradMode with_graph(true);
    variable_list given;
    edge_list sources;
    for (size_t i = 0; i < inputs.size(); ++i) {
      given.push_back(inputs[i].unpack().detach().set_requires_grad(input_differentiable[i]));
      if (input_differentiable[i]) {
        sources.push_back(gradient_edge(given.back()));
      }
    }
    for (const auto &leaf : leaves) {
      sources.push_back(gradient_edge(leaf));
    }
    const auto outputs = (*body)(given, output_differentiable.size());
    edge_list roots;
    variable_list root_gradients;
    size_t place = 0;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!output_differentiable[i]) {
        continue;
      }
      const auto &gradient = gradients[place++];
      if (gradient.defined()) {
        roots.push_back(gradient_edge(outputs[i]));
        root_gradients.push_back(gradient);
      }
    }
    if (roots.empty()) {
      return variable_list(sources.size());
    }
    return Engine::get_default_engine().execute(roots, root_gradients, false, false, false, sources);
  }
};

// The leaves that `outputs` depend on, apart from `inputs`. Whatever has a history from before
// `begun` would be differentiated a second time, so that it has to be among the inputs.
variable_list captured_leaves(const variable_list &outputs, const variable_list &inputs,
                              uint64_t begun) {
  std::unordered_set<const void *> known;
  for (const auto &input : inputs) {
    known.insert(input.unsafeGetTensorImpl());
  }
  variable_list leaves;
  std::unordered_set<Node *> seen;
  std::vector<Node *> open;
  const auto visit = [&](Node *node) {
    if (node != nullptr && seen.insert(node).second) {
      open.push_back(node);
    }
  };
  for (const auto &output : outputs) {
    if (output.requires_grad()) {
      visit(gradient_edge(output).function.get());
    }
  }
  while (!open.empty()) {
    Node *node = open.back();
    open.pop_back();
    if (auto *leaf = dynamic_cast<AccumulateGrad *>(node)) {
      if (known.insert(leaf->variable.unsafeGetTensorImpl()).second) {
        leaves.push_back(leaf->variable);
      }
      continue;
    }
    TORCH_CHECK(node->sequence_nr() >= begun,
                "a recomputed block reads the result of ", node->name(),
                ", which is not among its inputs");
    for (const auto &edge : node->next_edges()) {
      visit(edge.function.get());
    }
  }
  return leaves;
}

}  // namespace

int shutterbug_grad_enabled(void) { return c10::GradMode::is_enabled(); }

uint64_t shutterbug_sequence_number(void) { return at::sequence_number::peek(); }

void shutterbug_set_message(void *message, const char *text, size_t length) {
  static_cast<std::string *>(message)->assign(text, length);
}

int shutterbug_gradients(const void *loss, const void *const *of, size_t count, void **gradients,
                         char **error) {
  return guarded(error, [&] {
    const auto sources = list_of(of, count);
    auto result = torch::autograd::grad({*static_cast<const Tensor *>(loss)}, sources, {},
                                        /*retain_graph=*/false, /*create_graph=*/false,
                                        /*allow_unused=*/true);
    for (size_t i = 0; i < count; ++i) {
      gradients[i] = result[i].defined() ? new Tensor(result[i]) : nullptr;
    }
  });
}

int shutterbug_recompute(const void *const *inputs, const void *const *given, size_t inputs_count,
                         const void *const *outputs, size_t outputs_count, uint64_t begun,
                         void *closure, shutterbug_run_body run, void (*release)(void *),
                         void **results, char **error) {
  auto body = std::make_unique<Body>(closure, run, release);
  return guarded(error, [&] {
    const auto originals = list_of(inputs, inputs_count);
    const auto made = list_of(outputs, outputs_count);
    auto leaves = captured_leaves(made, list_of(given, inputs_count), begun);
    std::shared_ptr<Recomputation> node(new Recomputation(), torch::autograd::deleteNode);
    edge_list sources;
    for (const auto &input : originals) {
      node->inputs.emplace_back(input, /*is_output=*/false);
      node->input_differentiable.push_back(input.requires_grad());
      if (input.requires_grad()) {
        sources.push_back(gradient_edge(input));
      }
    }
    for (const auto &leaf : leaves) {
      sources.push_back(gradient_edge(leaf));
    }
    node->set_next_edges(std::move(sources));
    node->leaves = std::move(leaves);
    node->body = std::move(body);
    for (size_t i = 0; i < made.size(); ++i) {
      node->output_differentiable.push_back(made[i].requires_grad());
      auto result = made[i].variable_data();
      if (made[i].requires_grad()) {
        torch::autograd::set_history(result, node);
      }
      results[i] = new Tensor(std::move(result));
    }
  });
}

int shutterbug_fused_adamw(const void *const *parameters, const void *const *gradients,
                           const void *const *first_moments, const void *const *second_moments,
                           const void *const *steps, size_t count, double learning_rate,
                           double beta1, double beta2, double weight_decay, double epsilon,
                           char **error) {
  return guarded(error, [&] {
    const at::NoGradGuard no_grad;
    auto step_list = list_of(steps, count);
    at::_foreach_add_(step_list, 1);
    // The CPU's kernel reads every list by flat addresses. A convolution's gradient can lie
    // channels-last; who accumulates into grad() never sees that, for it is copied there.
    auto gradient_list = list_of(gradients, count);
    for (auto &gradient : gradient_list) {
      gradient = gradient.contiguous();
    }
    at::_fused_adamw_(list_of(parameters, count), gradient_list, list_of(first_moments, count),
                      list_of(second_moments, count), {}, step_list, learning_rate, beta1, beta2,
                      weight_decay, epsilon, /*amsgrad=*/false, /*maximize=*/false);
  });
}

int shutterbug_norm(const void *const *tensors, size_t count, double *norm, char **error) {
  return guarded(error, [&] {
    const at::NoGradGuard no_grad;
    *norm = count == 0 ? 0.0
                       : at::linalg_vector_norm(at::stack(at::_foreach_norm(list_of(tensors, count))))
                             .item<double>();
  });
}

int shutterbug_scale(const void *const *tensors, size_t count, double factor, char **error) {
  return guarded(error, [&] {
    const at::NoGradGuard no_grad;
    at::_foreach_mul_(list_of(tensors, count), factor);
  });
}
