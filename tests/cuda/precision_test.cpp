// Memory of other types than fp32 on CUDA against the CPU backend: bit for bit.
#include <cmath>
#include <limits>

#include "tests/cuda/device_twin.hpp"
#include "tests/narrow_rig.hpp"

namespace gramstep::test {
namespace {

constexpr DType bf16 = DType::bfloat16, fp16 = DType::float16;

/// Bytes on the device, as many as a buffer in host memory has.
class DeviceCopy {
 public:
  explicit DeviceCopy(const ConstBuffer& from) : size_(from.size), dtype_(from.dtype) {
    cudaMalloc(&data_, bytes());
    follow(from);
  }
  DeviceCopy(DeviceCopy&& from) noexcept
      : size_(from.size_), dtype_(from.dtype_), data_(std::exchange(from.data_, nullptr)) {}
  DeviceCopy& operator=(DeviceCopy&&) = delete;
  ~DeviceCopy() { cudaFree(data_); }

  void follow(const ConstBuffer& from) {
    cudaMemcpy(data_, from.data, bytes(), cudaMemcpyHostToDevice);
  }
  Buffer buffer() const { return {data_, size_, dtype_}; }

 private:
  std::size_t bytes() const { return static_cast<std::size_t>(size_ * size_of(dtype_)); }
  std::int64_t size_;
  DType dtype_;
  void* data_ = nullptr;
};

/// The numbers of a buffer, wherever it is.
std::vector<float> numbers(const Buffer& buffer) {
  std::vector<char> bytes(static_cast<std::size_t>(buffer.size * size_of(buffer.dtype)));
  cudaMemcpy(bytes.data(), buffer.data, bytes.size(), cudaMemcpyDefault);
  return host::widened(buffer.dtype, bytes.data(), buffer.size);
}

Layout layout_of() {
  Layout layout;
  layout.add("matrix", {64, 34});
  layout.add("large", {128, 67}, {.weight_decay = 0.0});
  layout.add("small", {128});
  return layout;
}

/// A rig on the CPU and an optimizer on the device that takes the same steps.
struct Both {
  explicit Both(OptimizerOptions options) : rig(layout_of(), options), params(rig.params.buffer()) {
    options.device = cuda();
    optimizer = std::make_unique<Optimizer>(layout_of(), options);
    for (NarrowMemory& row : rig.rows) rows.emplace_back(row.buffer());
  }

  void draw_and_step() {
    rig.draw();
    step();
  }
  void step() {
    std::vector<const void*> pointers;
    for (std::size_t k = 0; k < rows.size(); ++k) {
      rows[k].follow(rig.rows[k].buffer());
      pointers.push_back(rows[k].buffer().data);
    }
    rig.step();
    optimizer->step(params.buffer(),
                    {.rows = {pointers.data(), std::ssize(pointers), rows[0].buffer().dtype},
                     .row_size = optimizer->layout().shared_size()});
  }
  void expect_same() {
    EXPECT_TRUE(same_bits(numbers(params.buffer()), rig.params.numbers()));
    for (int s = 0; s < optimizer->layout().segments(); ++s) {
      const std::string segment = optimizer->layout().segment(s).name;
      for (const std::string_view name : optimizer->state_names(segment)) {
        EXPECT_TRUE(same_bits(numbers(optimizer->stored_state(name, segment)),
                              numbers(rig.optimizer.stored_state(name, segment))))
            << name << " of " << segment;
      }
    }
  }

  NarrowRig rig;
  DeviceCopy params;
  std::unique_ptr<Optimizer> optimizer;
  std::vector<DeviceCopy> rows;
};

using CudaPrecisionTest = CudaTest;

const Precision all_precisions[] = {
    {.gradients = bf16},
    {.params = fp16, .gradients = fp16},
    {.params = bf16, .gradients = bf16, .master = Master::float32},
    {.params = bf16, .gradients = bf16, .master = Master::remainder},
    {.params = bf16, .rounding = Rounding::kahan},
    {.params = fp16, .rounding = Rounding::stochastic, .seed = 5},
    {.params = bf16, .gradients = bf16, .states = bf16, .rounding = Rounding::stochastic},
    {.params = bf16, .master = Master::float32, .states = DType::dynamic8}};

TEST_F(CudaPrecisionTest, StepsHaveTheBitsOfTheCpu) {
  for (const Precision& precision : all_precisions) {
    for (const Rule& rule : {Rule(SGD{.lr = 0.1, .momentum = 0.9}), Rule(AdamW{.lr = 0.01}),
                             Rule(LAMB{.lr = 0.01}), Rule(Adafactor{.lr = 0.1})}) {
      const bool factored = std::holds_alternative<Adafactor>(rule);
      if (factored && precision.states != DType::float32) continue;
      for (const int tasks : {1, 3}) {
        // The Gram matrix differs by rounding, so weights that do not depend on it.
        Both both({.rule = rule, .aggregator = Mean{}, .tasks = tasks, .precision = precision});
        for (int step = 0; step < 3; ++step) both.draw_and_step();
        both.expect_same();
      }
    }
  }
}

TEST_F(CudaPrecisionTest, AveragesZerosAndOffloadedStateHaveTheBitsOfTheCpu) {
  for (const Precision& precision : all_precisions) {
    Both both({.rule = AdamW{.lr = 0.01},
               .aggregator = Mean{},
               .tasks = 2,
               .precision = precision,
               .ema_decay = 0.75,
               .zero_gradients = true,
               .offload_state = true});
    for (int step = 0; step < 3; ++step) both.draw_and_step();
    both.expect_same();
    for (std::size_t k = 0; k < 2; ++k) {
      EXPECT_TRUE(same_bits(numbers(both.rows[k].buffer()), both.rig.rows[k].numbers()));
    }
  }
}

TEST_F(CudaPrecisionTest, OutputsHaveTheBitsOfTheCpu) {
  Both both({.rule = AdamW{.lr = 0.01}, .precision = {.gradients = bf16}});
  const std::int64_t size = both.optimizer->layout().size();
  NarrowMemory copy(bf16, size), delta(DType::float32, size);
  DeviceCopy own_copy(copy.buffer()), own_delta(delta.buffer());
  const void* const row[] = {both.rig.rows[0].data()};
  const void* const own_row[] = {both.rows[0].buffer().data};
  both.rig.optimizer.step(both.rig.params.buffer(), {.rows = {row, 1, bf16}, .row_size = size},
                          {.copy = copy.buffer(), .delta = delta.buffer()});
  both.optimizer->step(both.params.buffer(), {.rows = {own_row, 1, bf16}, .row_size = size},
                       {.copy = own_copy.buffer(), .delta = own_delta.buffer()});
  both.expect_same();
  EXPECT_TRUE(same_bits(numbers(own_copy.buffer()), copy.numbers()));
  EXPECT_TRUE(same_bits(numbers(own_delta.buffer()), delta.numbers()));
}

TEST_F(CudaPrecisionTest, MicroBatchesHaveTheBitsOfTheCpu) {
  Both both({});
  for (const DType dtype : {DType::float32, bf16, fp16}) {
    NarrowMemory micro(dtype, 40'003), sum(DType::float32, 40'003);
    std::vector<float> drawn(40'003);
    Random random(8);
    for (float& each : drawn) each = static_cast<float>(random.uniform());
    micro.set(drawn);
    sum.set(drawn);
    DeviceCopy own_micro(micro.buffer()), own_sum(sum.buffer());
    both.rig.optimizer.accumulate(sum.buffer().as<float>(), micro.buffer(), 0.3);
    both.optimizer->accumulate(own_sum.buffer().as<float>(), own_micro.buffer(), 0.3);
    EXPECT_TRUE(same_bits(numbers(own_sum.buffer()), sum.numbers())) << name_of(dtype);
  }
}

TEST_F(CudaPrecisionTest, GramOfNarrowRowsIsWithinItsBound) {
  for (const DType dtype : {bf16, fp16}) {
    for (const int tasks : {1, 3, 8, 9, 16, 32, 33, 64}) {
      Both both({.aggregator = Mean{},
                 .tasks = tasks,
                 .clip_norm = 1.0,
                 .precision = {.gradients = dtype}});
      both.draw_and_step();
      const Report got = both.optimizer->report(), expected = both.rig.optimizer.report();
      for (std::size_t e = 0; e < expected.gram.size(); ++e) {
        // Sums of at most 1024 products in fp32, each exact: n u of the norms.
        const auto i = e / static_cast<std::size_t>(tasks), j = e % static_cast<std::size_t>(tasks);
        const double scale = expected.gradient_norms[i] * expected.gradient_norms[j];
        EXPECT_NEAR(got.gram[e], expected.gram[e], 1024 * 0x1p-24 * scale);
      }
    }
  }
}

// Whatever multiplies them must not make a finite number of what is beyond fp32.
TEST_F(CudaPrecisionTest, ASquareBeyondFp32IsNotFinite) {
  for (const int tasks : {8, 16, 33, 64}) {
    for (const float large : {2e19f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
      Both both({.aggregator = Mean{}, .tasks = tasks, .precision = {.gradients = bf16}});
      NarrowMemory& row = both.rig.rows.back();
      std::vector<float> numbers = row.numbers();
      numbers[77] = large;
      row.set(numbers);
      both.step();
      EXPECT_TRUE(both.rig.optimizer.report().skipped);
      EXPECT_TRUE(both.optimizer->report().skipped) << tasks << " tasks, " << large;
    }
  }
}

}  // namespace
}  // namespace gramstep::test
