// Launches of the update stage: a body for each of a rule's updates, for K = 1, K = 2 and any K.
#include "kernels/device_context.cuh"
#include "kernels/launch.hpp"

namespace gramstep::kernels {
namespace {

template <class Update>
void launch_rows(const UpdateArguments& a, Stream stream) {
  const std::int64_t blocks = a.work.chunk_count;
  const char* name = "launch of the update stage";
  if (a.tasks == 1) return launch(UpdateBody<Update, 1>{a}, blocks, stream, name);
  if (a.tasks == 2) return launch(UpdateBody<Update, 2>{a}, blocks, stream, name);
  launch(UpdateBody<Update, 0>{a}, blocks, stream, name);
}

/// Calls launch_rows for the tuple's element of that index.
template <class Updates, std::size_t... Index>
void launch_selected(int selected, const UpdateArguments& a, Stream stream,
                     std::index_sequence<Index...>) {
  ((selected == static_cast<int>(Index)
        ? launch_rows<std::tuple_element_t<Index, Updates>>(a, stream)
        : void()),
   ...);
}

}  // namespace

void launch_update(const UpdateArguments& a, const Rule& rule, Stream stream) {
  std::visit(
      [&](const auto& held) {
        using Updates = typename std::decay_t<decltype(held)>::Updates;
        launch_selected<Updates>(held.update(), a, stream,
                                 std::make_index_sequence<std::tuple_size_v<Updates>>{});
      },
      rule);
}

}  // namespace gramstep::kernels
