// The C ABI: names and texts, and what may be set between steps.
#include <algorithm>
#include <string>
#include <vector>

#include "host/c_guard.hpp"
#include "host/c_handles.hpp"
#include "host/c_options.hpp"

namespace gs = gramstep;
using namespace gramstep::host::c;
using gs::host::expect_there;
using gs::host::extent;

namespace {

const char* name_at(const std::vector<std::string_view>& names, int index) {
  if (index < 0 || index >= std::ssize(names)) return nullptr;
  return names[static_cast<std::size_t>(index)].data();  // views of literals
}

/// Hands out a text as gramstep_aggregator_text does.
void put_text(const std::string& written, char* text, std::size_t size, std::size_t* needed) {
  put(needed, written.size() + 1);
  if (text == nullptr) return;
  if (size <= written.size()) {
    throw gs::InvalidArgument("size: got " + std::to_string(size) + ", expected at least " +
                              std::to_string(written.size() + 1));
  }
  std::copy_n(written.c_str(), written.size() + 1, text);
}

}  // namespace

extern "C" {

int gramstep_aggregator_count(void) { return std::variant_size_v<gs::Aggregator>; }
int gramstep_rule_count(void) { return std::variant_size_v<gs::Rule>; }
int gramstep_schedule_count(void) { return std::variant_size_v<gs::Schedule>; }

const char* gramstep_aggregator_name(int index) { return name_at(gs::aggregator_names(), index); }
const char* gramstep_rule_name(int index) { return name_at(gs::rule_names(), index); }
const char* gramstep_schedule_name(int index) { return name_at(gs::schedule_names(), index); }

gramstep_status gramstep_aggregator_text(const char* aggregator, char* text, size_t size,
                                         size_t* needed) {
  return guarded([&] {
    expect_there(aggregator, "gramstep_aggregator_text: aggregator");
    put_text(gs::text_of(gs::aggregator_of(aggregator)), text, size, needed);
  });
}

gramstep_status gramstep_rule_text(const char* rule, char* text, size_t size, size_t* needed) {
  return guarded([&] {
    expect_there(rule, "gramstep_rule_text: rule");
    put_text(gs::text_of(gs::rule_of(rule)), text, size, needed);
  });
}

gramstep_status gramstep_schedule_text(const char* schedule, char* text, size_t size,
                                       size_t* needed) {
  return guarded([&] {
    expect_there(schedule, "gramstep_schedule_text: schedule");
    put_text(gs::text_of(gs::schedule_of(schedule)), text, size, needed);
  });
}

gramstep_status gramstep_set_lr(gramstep_optimizer* optimizer, double lr, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_set_lr: optimizer");
    optimizer->optimizer.set_lr(lr, as_stream(stream));
  });
}

gramstep_status gramstep_set_loss_scale(gramstep_optimizer* optimizer, double loss_scale,
                                        void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_set_loss_scale: optimizer");
    optimizer->optimizer.set_loss_scale(loss_scale, as_stream(stream));
  });
}

gramstep_status gramstep_set_rule(gramstep_optimizer* optimizer, const char* rule, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_set_rule: optimizer");
    expect_there(rule, "gramstep_set_rule: rule");
    optimizer->optimizer.set_rule(gs::rule_of(rule), as_stream(stream));
  });
}

gramstep_status gramstep_set_schedule(gramstep_optimizer* optimizer, const char* schedule,
                                      int64_t warmup_steps, double warmup_start_factor,
                                      void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_set_schedule: optimizer");
    optimizer->optimizer.set_schedule(gs::host::schedule_or_constant(schedule),
                                      {warmup_steps, warmup_start_factor}, as_stream(stream));
  });
}

gramstep_status gramstep_set_clip_norm(gramstep_optimizer* optimizer, double clip_norm,
                                       void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_set_clip_norm: optimizer");
    optimizer->optimizer.set_clip_norm(clip_norm, as_stream(stream));
  });
}

gramstep_status gramstep_loss_scale_data(const gramstep_optimizer* optimizer, const float** data) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_loss_scale_data: optimizer");
    expect_there(data, "gramstep_loss_scale_data: data");
    *data = optimizer->optimizer.loss_scale_data();
  });
}

gramstep_status gramstep_evaluation_params(gramstep_optimizer* optimizer, const void* params,
                                           void* out, int64_t size, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_evaluation_params: optimizer");
    extent(size, "gramstep_evaluation_params: size");
    const gs::DType dtype = optimizer->optimizer.options().precision.params;
    optimizer->optimizer.evaluation_params({params, size, dtype}, {out, size, dtype},
                                           as_stream(stream));
  });
}

int gramstep_segment_state_count(const gramstep_optimizer* optimizer) {
  if (optimizer == nullptr) return -1;
  return static_cast<int>(optimizer->optimizer.segment_state_names().size());
}

const char* gramstep_segment_state_name(const gramstep_optimizer* optimizer, int index) {
  if (optimizer == nullptr) return nullptr;
  return name_at(optimizer->optimizer.segment_state_names(), index);
}

gramstep_status gramstep_segment_state(const gramstep_optimizer* optimizer, const char* name,
                                       double* values, int64_t segments, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_segment_state: optimizer");
    expect_there(name, "gramstep_segment_state: name");
    expect_there(values, "gramstep_segment_state: values");
    const auto read = optimizer->optimizer.segment_state(name, as_stream(stream));
    if (segments != std::ssize(read)) {
      throw gs::InvalidArgument("gramstep_segment_state: segments: got " +
                                std::to_string(segments) + ", expected " +
                                std::to_string(read.size()));
    }
    std::ranges::copy(read, values);
  });
}

gramstep_status gramstep_set_segment_state(gramstep_optimizer* optimizer, const char* name,
                                           const double* values, int64_t segments, void* stream) {
  return guarded([&] {
    expect_there(optimizer, "gramstep_set_segment_state: optimizer");
    expect_there(name, "gramstep_set_segment_state: name");
    expect_there(values, "gramstep_set_segment_state: values");
    optimizer->optimizer.set_segment_state(
        name, {values, extent(segments, "gramstep_set_segment_state: segments")},
        as_stream(stream));
  });
}

}  // extern "C"
