/* The C ABI from C: texts, what may be set between steps, scalars by segment, evaluation. */
#include "gramstep/gramstep.h"

#include <math.h>
#include <string.h>

#define STRING_OF(x) #x
#define STRING(x) STRING_OF(x)
#define EXPECT(condition)                                                   \
  do {                                                                      \
    if (!(condition)) return __FILE__ ":" STRING(__LINE__) ": " #condition; \
  } while (0)

enum { SIZE = 128, USED = 3 };

static int refused(gramstep_status got, gramstep_status expected, const char* word) {
  return got == expected && strstr(gramstep_last_error(), word) != NULL;
}

static const char* read_texts(void) {
  char text[256];
  size_t needed = 0;
  EXPECT(gramstep_rule_count() == 17 && gramstep_schedule_count() == 6);
  EXPECT(strcmp(gramstep_rule_name(0), "SGD") == 0 && gramstep_rule_name(17) == NULL);
  EXPECT(strcmp(gramstep_schedule_name(0), "ConstantLR") == 0 &&
         gramstep_schedule_name(-1) == NULL);
  EXPECT(gramstep_rule_text("Lion(lr=0.5)", NULL, 0, &needed) == GRAMSTEP_OK);
  EXPECT(gramstep_rule_text("Lion(lr=0.5)", text, needed, NULL) == GRAMSTEP_OK);
  EXPECT(strcmp(text, "Lion(lr=0.5, beta1=0.9, beta2=0.99, weight_decay=0, maximize=false)") == 0);
  EXPECT(needed == strlen(text) + 1);
  EXPECT(refused(gramstep_rule_text("Lion", text, 3, NULL), GRAMSTEP_INVALID_ARGUMENT, "size"));
  EXPECT(refused(gramstep_rule_text("Tiger", text, sizeof text, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "Lion"));
  EXPECT(refused(gramstep_rule_text(NULL, text, sizeof text, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "rule"));
  EXPECT(gramstep_schedule_text("StepLR", text, sizeof text, NULL) == GRAMSTEP_OK);
  EXPECT(strcmp(text, "StepLR(step_size=1, gamma=0.1)") == 0);
  return NULL;
}

/* params = -lr after a step from 0 with a gradient of 1. */
static const char* step(gramstep_optimizer* optimizer, float* params, const float* grad_scale,
                        const float* found_inf) {
  static float row[SIZE];
  const void* rows[1];
  gramstep_gradients gradients;
  int e;
  rows[0] = row;
  for (e = 0; e < SIZE; ++e) {
    row[e] = 1.0f;
    params[e] = 0.0f;
  }
  memset(&gradients, 0, sizeof gradients);
  gradients.struct_size = sizeof gradients;
  gradients.rows = rows;
  gradients.tasks = 1;
  gradients.row_size = SIZE;
  gradients.grad_scale = grad_scale;
  gradients.found_inf = found_inf;
  EXPECT(gramstep_step(optimizer, params, SIZE, &gradients, NULL) == GRAMSTEP_OK);
  return NULL;
}

static const char* change_settings(gramstep_optimizer* optimizer) {
  static float params[SIZE];
  const float* scale = NULL;
  const float four = 4.0f, found = 2.0f;
  const char* wrong;
  EXPECT(gramstep_loss_scale_data(optimizer, &scale) == GRAMSTEP_OK && *scale == 1.0f);
  EXPECT(gramstep_set_rule(optimizer, "SGD(lr=0.5)", NULL) == GRAMSTEP_OK);
  if ((wrong = step(optimizer, params, NULL, NULL)) != NULL) return wrong;
  EXPECT(params[0] == -0.5f);
  if ((wrong = step(optimizer, params, &four, NULL)) != NULL) return wrong;
  EXPECT(params[0] == -0.125f);
  if ((wrong = step(optimizer, params, NULL, &found)) != NULL) return wrong;
  EXPECT(params[0] == 0.0f); /* skipped */
  EXPECT(gramstep_set_schedule(optimizer, "StepLR(step_size=2, gamma=0.5)", 0, 1, NULL) ==
         GRAMSTEP_OK);
  if ((wrong = step(optimizer, params, NULL, NULL)) != NULL) return wrong;
  EXPECT(params[0] == -0.25f);
  EXPECT(gramstep_set_schedule(optimizer, NULL, 6, 0, NULL) == GRAMSTEP_OK);
  if ((wrong = step(optimizer, params, NULL, NULL)) != NULL) return wrong;
  EXPECT(params[0] == -0.25f); /* the fourth of 6 */
  EXPECT(gramstep_set_clip_norm(optimizer, 0.5, NULL) == GRAMSTEP_OK);
  EXPECT(
      refused(gramstep_set_clip_norm(optimizer, 0, NULL), GRAMSTEP_INVALID_ARGUMENT, "clip_norm"));
  EXPECT(refused(gramstep_set_rule(optimizer, "Adam", NULL), GRAMSTEP_INVALID_STATE, "set_rule"));
  EXPECT(refused(gramstep_set_rule(optimizer, NULL, NULL), GRAMSTEP_INVALID_ARGUMENT, "rule"));
  EXPECT(refused(gramstep_set_schedule(optimizer, "StepLR", -1, 1, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "Warmup.steps"));
  EXPECT(gramstep_segment_state_count(optimizer) == 0);
  return NULL;
}

static const char* read_scalars(gramstep_optimizer* optimizer) {
  static float params[SIZE], out[SIZE];
  double sums[2] = {0, 0};
  const char* wrong;
  EXPECT(gramstep_segment_state_count(optimizer) == 2 && gramstep_segment_state_count(NULL) == -1);
  EXPECT(strcmp(gramstep_segment_state_name(optimizer, 1), "lr_max") == 0);
  EXPECT(gramstep_segment_state_name(optimizer, 2) == NULL);
  if ((wrong = step(optimizer, params, NULL, NULL)) != NULL) return wrong;
  EXPECT(gramstep_segment_state(optimizer, "lr_max", sums, 1, NULL) == GRAMSTEP_OK &&
         sums[0] == 0.5);
  sums[0] = 3;
  EXPECT(gramstep_set_segment_state(optimizer, "weight_sum", sums, 1, NULL) == GRAMSTEP_OK);
  sums[0] = 0;
  EXPECT(gramstep_segment_state(optimizer, "weight_sum", sums, 1, NULL) == GRAMSTEP_OK);
  EXPECT(sums[0] == 3);
  EXPECT(refused(gramstep_segment_state(optimizer, "weight_sum", sums, 2, NULL),
                 GRAMSTEP_INVALID_ARGUMENT, "segments"));
  EXPECT(refused(gramstep_segment_state(optimizer, "mu", sums, 1, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "lr_max"));
  /* After one step x = y = z. */
  EXPECT(gramstep_evaluation_params(optimizer, params, out, SIZE, NULL) == GRAMSTEP_OK);
  EXPECT(params[0] == -0.5f && memcmp(params, out, USED * sizeof *out) == 0 && out[USED] == 0.0f);
  EXPECT(refused(gramstep_evaluation_params(optimizer, params, out, 1, NULL),
                 GRAMSTEP_INVALID_ARGUMENT, "params"));
  return NULL;
}

/* Returns what went wrong, or null. */
const char* gramstep_c_settings_smoke(void);
const char* gramstep_c_settings_smoke(void) {
  const int64_t shape[1] = {USED};
  gramstep_layout* layout = NULL;
  gramstep_optimizer *sgd = NULL, *average = NULL;
  gramstep_options options;
  const char* wrong;
  if ((wrong = read_texts()) != NULL) return wrong;
  EXPECT(gramstep_layout_create(&layout) == GRAMSTEP_OK);
  EXPECT(gramstep_layout_add(layout, "a", shape, 1, GRAMSTEP_SHARED, NULL) == GRAMSTEP_OK);
  EXPECT(gramstep_options_init(&options) == GRAMSTEP_OK);
  options.clip_norm = 1e6;
  EXPECT(gramstep_optimizer_create(&sgd, layout, &options) == GRAMSTEP_OK);
  options.rule = "ScheduleFreeSGD(lr=0.5)";
  EXPECT(gramstep_optimizer_create(&average, layout, &options) == GRAMSTEP_OK);
  gramstep_layout_destroy(layout);
  wrong = change_settings(sgd);
  if (wrong == NULL) wrong = read_scalars(average);
  gramstep_optimizer_destroy(sgd);
  gramstep_optimizer_destroy(average);
  return wrong;
}
