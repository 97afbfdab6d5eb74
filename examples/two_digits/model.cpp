#include "model.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>

#include "random.hpp"

namespace two_digits {
namespace {

std::string trunk_layer(std::size_t l) { return "trunk." + std::to_string(l); }

void add_linear(gramstep::Layout& layout, const std::string& name, std::int64_t out,
                std::int64_t in, int task) {
  layout.add(name + ".weight", {out, in}, {.task = task});
  layout.add(name + ".bias", {out}, {.task = task, .weight_decay = 0.0});
}

}  // namespace

gramstep::Layout model_layout() {
  gramstep::Layout layout;
  for (std::size_t l = 0; l < layers; ++l) {
    add_linear(layout, trunk_layer(l), widths[l + 1], widths[l], gramstep::shared_by_all);
  }
  for (int task = 0; task < tasks; ++task) {
    add_linear(layout, task_names[static_cast<std::size_t>(task)], classes, widths.back(), task);
  }
  return layout;
}

std::vector<float> initial_parameters(const gramstep::Layout& layout, std::uint64_t seed) {
  auto random = random_engine(seed, Purpose::parameters);
  std::vector<float> params(static_cast<std::size_t>(layout.size()));
  for (int i = 0; i < layout.segments(); ++i) {
    const gramstep::Segment segment = layout.segment(i);
    if (segment.shape.size() < 2) continue;  // a bias
    const float bound = std::sqrt(6.0f / static_cast<float>(segment.shape[1]));
    std::uniform_real_distribution<float> weight(-bound, bound);
    std::ranges::generate(gramstep::view(layout, params.data(), segment.name).span(),
                          [&] { return weight(random); });
  }
  return params;
}

template <class Real>
Model<Real>::Model(Backend<Real>& backend, const gramstep::Layout& layout, std::int64_t batch)
    : backend_(backend),
      layout_(layout),
      batch_(batch),
      dlogits_(backend.allocate(batch * classes)),
      losses_(backend.allocate(tasks)) {
  for (std::size_t l = 0; l <= layers; ++l) {
    activations_[l] = backend.allocate(batch * widths[l]);
    if (l > 0) gradients_[l] = backend.allocate(batch * widths[l]);
  }
  for (auto& logits : logits_) logits = backend.allocate(batch * classes);
}

template <class Real>
void Model<Real>::forward(const Real* params, std::span<const Real> images) {
  rows_ = static_cast<std::int64_t>(images.size()) / canvas_pixels;
  if (rows_ > batch_) {
    throw std::invalid_argument("Model::forward: expected at most " + std::to_string(batch_) +
                                " images, got " + std::to_string(rows_));
  }
  backend_.upload(images, activations_[0].data());
  for (std::size_t l = 0; l < layers; ++l) {
    linear(params, trunk_layer(l), activation(l), activation(l + 1));
    backend_.relu(activation(l + 1));
  }
  for (std::size_t task = 0; task < tasks; ++task) {
    linear(params, task_names[task], activation(layers), logits(task));
  }
}

template <class Real>
std::array<Real, tasks> Model<Real>::backward(const Real* params,
                                              const std::array<std::vector<int>, tasks>& labels,
                                              const std::array<Real, tasks>& scales,
                                              const GradientBuffer<Real>& gradients) {
  const Matrix<Real> dlogits = rows_of(dlogits_, classes);
  for (std::size_t task = 0; task < tasks; ++task) {
    const std::string head = task_names[task];
    backend_.cross_entropy(logits(task), labels[task], scales[task], losses_.data() + task,
                           dlogits);
    linear_weights(task, head, activation(layers), dlogits, gradients);
    backend_.linear_inputs(dlogits, weight(params, head),
                           rows_of(gradients_[layers], widths[layers]));
    backward_trunk(params, task, gradients);
  }
  std::array<Real, tasks> losses;
  backend_.download(losses_.data(), losses);
  return losses;
}

template <class Real>
void Model<Real>::backward_trunk(const Real* params, std::size_t task,
                                 const GradientBuffer<Real>& gradients) {
  for (std::size_t l = layers; l > 0; --l) {
    const Matrix<Real> dy = rows_of(gradients_[l], widths[l]);
    backend_.relu_inputs(activation(l), dy);
    linear_weights(task, trunk_layer(l - 1), activation(l - 1), dy, gradients);
    if (l > 1) {
      backend_.linear_inputs(dy, weight(params, trunk_layer(l - 1)),
                             rows_of(gradients_[l - 1], widths[l - 1]));
    }
  }
}

template <class Real>
std::vector<int> Model<Real>::predictions(std::size_t task) const {
  std::vector<Real> host(static_cast<std::size_t>(rows_ * classes));
  backend_.download(logits_[task].data(), host);
  std::vector<int> likeliest;
  for (auto row = host.begin(); row != host.end(); row += classes) {
    likeliest.push_back(static_cast<int>(std::max_element(row, row + classes) - row));
  }
  return likeliest;
}

template <class Real>
Matrix<const Real> Model<Real>::weight(const Real* params, const std::string& layer) const {
  const auto view = gramstep::view(layout_, params, layer + ".weight");
  return {view.data, view.shape[0], view.shape[1]};
}

template <class Real>
void Model<Real>::linear(const Real* params, const std::string& layer, Matrix<Real> x,
                         Matrix<Real> y) {
  const auto bias = gramstep::view(layout_, params, layer + ".bias");
  backend_.linear(x, weight(params, layer), bias.data, y);
}

template <class Real>
void Model<Real>::linear_weights(std::size_t task, const std::string& layer, Matrix<Real> x,
                                 Matrix<Real> dy, const GradientBuffer<Real>& gradients) {
  const auto dw = gradients.view(task, layer + ".weight");
  const auto dbias = gradients.view(task, layer + ".bias");
  backend_.linear_weights(x, dy, {dw.data, dw.shape[0], dw.shape[1]}, dbias.data);
}

template class Model<float>;
template class Model<double>;

}  // namespace two_digits
