// Aggregation: the three stages of a backend without an optimizer round them.
#include "gramstep/aggregation.hpp"

#include <cmath>
#include <new>

#include "gramstep/error.hpp"
#include "host/backend.hpp"
#include "host/plan_state.hpp"
#include "host/validation.hpp"

namespace gramstep::inline v1 {
namespace {

/// A layout of one segment: the row.
Layout row_layout(std::int64_t size) {
  Layout layout;
  layout.add("row", {size});
  return layout;
}

OptimizerOptions checked_options(const AggregationOptions& options) {
  OptimizerOptions result{.aggregator = options.aggregator,
                          .tasks = options.tasks,
                          .smoothing = options.smoothing,
                          .non_finite = NonFinite::skip,
                          .precision = {.gradients = options.gradients},
                          .device = options.device};
  if (options.size < 0 || options.batch < 1) {
    throw InvalidArgument("AggregationOptions: got size " + std::to_string(options.size) +
                          " and batch " + std::to_string(options.batch) +
                          ", expected size >= 0 and batch >= 1");
  }
  host::validate(row_layout(options.size), result);
  const host::AggregatorTraits traits = host::traits_of(options.aggregator, options.tasks);
  if (traits.elementwise || traits.momentum) {
    throw InvalidArgument("AggregationOptions.aggregator: got " + std::string(traits.name) +
                          ", expected one that chooses weights from G and the losses alone");
  }
  return result;
}

host::Setup batched_setup(const AggregationOptions& options) {
  const OptimizerOptions checked = checked_options(options);  // before a layout takes the size
  host::Setup setup(row_layout(options.size), checked);
  setup.shape.projections = static_cast<std::int32_t>(options.batch);
  return setup;
}

/// The most that G_ij and G_ji may differ, of n_i n_j: what is left of a product of matrices in fp32.
constexpr double symmetric = 1e-5;

/// Whether G is finite, symmetric to the bit and >= 0 on its diagonal: most are, and this has no branch
/// an element.
bool is_exact_gram(const double* gram, int tasks) {
  bool exact = true;
  for (int i = 0; i < tasks; ++i) {
    const double* row = gram + i * tasks;
    for (int j = 0; j < i; ++j)
      exact &= row[j] - gram[j * tasks + i] == 0;  // not so for infinities
    exact &= row[i] >= 0 && row[i] - row[i] == 0;
  }
  return exact;
}

void expect_gram(const double* gram, int tasks, std::int64_t batch) {
  double norms[max_tasks];
  for (std::int64_t b = 0; b < batch; ++b, gram += tasks * tasks) {
    if (is_exact_gram(gram, tasks)) continue;
    for (int i = 0; i < tasks; ++i) norms[i] = std::sqrt(gram[i * tasks + i]);
    for (int i = 0; i < tasks; ++i) {
      for (int j = 0; j <= i; ++j) {
        const double left = gram[i * tasks + j], right = gram[j * tasks + i];
        // Not "difference > bound": a NaN must fail, also that of a negative diagonal's root.
        const bool near = std::fabs(left - right) <= symmetric * norms[i] * norms[j];
        if (std::isfinite(left) && near) continue;
        throw InvalidArgument("Aggregation::weights: gram[" + std::to_string(b) + "]: got " +
                              std::to_string(left) + " at (" + std::to_string(i) + ", " +
                              std::to_string(j) + ") and " + std::to_string(right) +
                              " at its mirror, expected a finite symmetric matrix with a diagonal "
                              ">= 0");
      }
    }
  }
}

}  // namespace

class Aggregation::Implementation {
 public:
  explicit Implementation(const AggregationOptions& its_options)
      : options(its_options),
        setup(batched_setup(options)),
        backend(options.device.kind == Device::Kind::cpu ? host::make_cpu_backend(setup)
                                                         : host::make_cuda_backend(setup)) {}

  /// There, aligned, of the expected extent and the backend's device's.
  template <class T>
  void check(const host::ArgumentName& what, std::span<T> memory, std::int64_t expected) const {
    if (std::ssize(memory) != expected) {
      throw InvalidArgument(what.text() + ": got " + std::to_string(memory.size()) +
                            " elements, expected " + std::to_string(expected));
    }
    if (expected > 0) check_address(what, memory.data(), alignof(T));
  }
  void check_row(const host::ArgumentName& what, const void* row, DType dtype) const {
    if (options.size > 0) check_address(what, row, static_cast<std::size_t>(size_of(dtype)));
  }
  void check_address(const host::ArgumentName& what, const void* address,
                     std::size_t alignment) const {
    if (address == nullptr || reinterpret_cast<std::uintptr_t>(address) % alignment != 0) {
      throw InvalidArgument(what.text() + ": got an address that is null or not a multiple of " +
                            std::to_string(alignment) + " bytes");
    }
    backend->check_memory(what, address);
  }

  void check_rows(const char* call, const Rows& rows) const {
    if (rows.count != options.tasks) {
      throw InvalidArgument(std::string(call) + ": rows: got " + std::to_string(rows.count) +
                            ", expected " + std::to_string(options.tasks) + " (tasks)");
    }
    if (rows.dtype != options.gradients) {
      throw InvalidArgument(std::string(call) + ": rows: got " + std::string(name_of(rows.dtype)) +
                            ", expected " + std::string(name_of(options.gradients)) +
                            " (AggregationOptions.gradients)");
    }
    for (int k = 0; k < options.tasks; ++k) check_row({"rows", k, call}, rows[k], rows.dtype);
  }

  std::int64_t pairs() const { return std::int64_t{options.tasks} * options.tasks; }

  AggregationOptions options;
  host::Setup setup;  // the backend refers to it
  std::unique_ptr<host::Backend> backend;
};

Aggregation::Aggregation(const AggregationOptions& options) try
    : implementation_(std::make_unique<Implementation>(options)) {
} catch (const std::bad_alloc&) {
  throw OutOfMemory("Aggregation: no host memory for its tables");
}
Aggregation::~Aggregation() = default;
Aggregation::Aggregation(Aggregation&&) noexcept = default;
Aggregation& Aggregation::operator=(Aggregation&&) noexcept = default;

const Aggregation::Implementation& Aggregation::checked(std::string_view member) const {
  if (!implementation_) {
    throw InvalidState("Aggregation::" + std::string(member) + ": this object was moved from");
  }
  return *implementation_;
}
Aggregation::Implementation& Aggregation::checked(std::string_view member) {
  return const_cast<Implementation&>(std::as_const(*this).checked(member));
}

void Aggregation::gram(const Rows& rows, std::span<double> gram, Stream stream) {
  Implementation& self = checked("gram");
  self.check_rows("Aggregation::gram", rows);
  self.check({"gram", -1, "Aggregation::gram"}, gram, self.pairs());
  self.backend->check_stream(stream);
  self.backend->gram({nullptr, rows, nullptr, {}}, stream);
  self.backend->sum_gram(gram.data(), stream);
}

void Aggregation::weights(std::span<const double> gram, std::span<double> weights,
                          std::span<const float> losses, Stream stream) {
  Implementation& self = checked("weights");
  const AggregationOptions& options = self.options;
  self.check({"gram", -1, "Aggregation::weights"}, gram, options.batch * self.pairs());
  self.check({"weights", -1, "Aggregation::weights"}, weights, options.batch * options.tasks);
  self.backend->check_stream(stream);
  const kernels::Losses given = host::losses_of(self.setup, losses);
  if (options.device.kind == Device::Kind::cpu) {
    expect_gram(gram.data(), options.tasks, options.batch);
  }
  self.backend->weights(gram.data(), weights.data(), given, stream);
}

void Aggregation::combine(const Rows& rows, std::span<const double> weights,
                          std::span<float> combined, Stream stream) {
  Implementation& self = checked("combine");
  const char* call = "Aggregation::combine";
  self.check_rows(call, rows);
  self.check({"weights", -1, call}, weights, self.options.tasks);
  self.check({"combined", -1, call}, combined, self.options.size);
  for (int k = 0; k < rows.count; ++k) {
    const std::less<const void*> before;
    const ConstBuffer row{rows[k], self.options.size, rows.dtype};
    if (before(row.data, combined.data() + combined.size()) &&
        before(combined.data(), row.from(row.size).data)) {
      throw InvalidArgument(
          "Aggregation::combine: combined: got memory that overlaps a row, "
          "expected memory of its own");
    }
  }
  self.backend->check_stream(stream);
  self.backend->combine(rows, weights.data(), combined.data(), stream);
}

std::vector<Solution> Aggregation::solutions(Stream stream) const {
  const Implementation& self = checked("solutions");
  self.backend->check_stream(stream);
  std::vector<double> block = self.backend->read_plan(stream);
  const Solution* first = kernels::PlanMemory::in(block.data(), self.setup.shape).solutions;
  return {first, first + self.options.batch};
}

std::int64_t Aggregation::steps(Stream stream) const {
  const Implementation& self = checked("steps");
  self.backend->check_stream(stream);
  return self.backend->read_step(stream).steps;
}

void Aggregation::set_steps(std::int64_t steps, Stream stream) {
  Implementation& self = checked("set_steps");
  host::validate_steps("Aggregation::set_steps: steps", steps);
  self.backend->check_stream(stream);
  kernels::StepState step = self.backend->read_step(stream);
  step.steps = steps;
  self.backend->write_step(step, self.backend->read_segments(stream));
}

std::vector<double> Aggregation::plan_state(std::string_view name, Stream stream) const {
  const Implementation& self = checked("plan_state");
  self.backend->check_stream(stream);
  return host::read_plan_state(self.setup, *self.backend, name, stream);
}

void Aggregation::set_plan_state(std::string_view name, std::span<const double> values,
                                 Stream stream) {
  Implementation& self = checked("set_plan_state");
  self.backend->check_stream(stream);
  host::write_plan_state(self.setup, *self.backend, name, values, stream);
}

const AggregationOptions& Aggregation::options() const { return checked("options").options; }

}  // namespace gramstep::inline v1
