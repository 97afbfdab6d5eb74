/* The C ABI from C: that its header is C99 and that a trainer can be driven through it. */
#include "gramstep/gramstep.h"

#include <math.h>
#include <string.h>

#define STRING_OF(x) #x
#define STRING(x) STRING_OF(x)
#define EXPECT(condition)                                                   \
  do {                                                                      \
    if (!(condition)) return __FILE__ ":" STRING(__LINE__) ": " #condition; \
  } while (0)

enum { SIZE = 384, SHARED = 256, HEADS = 128 };

/* Fails unless the last call failed with `got` == `expected` and said `word`. */
static int refused(gramstep_status got, gramstep_status expected, const char* word) {
  return got == expected && strstr(gramstep_last_error(), word) != NULL;
}

static const char* make_layout(gramstep_layout** made) {
  const int64_t trunk[2] = {3, 5}, head[1] = {7};
  const gramstep_group_options slow = {0.5, NAN, -1, 0};
  int64_t size = 0, shared = 0, heads = 0, offset = 0;
  gramstep_layout* layout = NULL;
  EXPECT(gramstep_layout_create(&layout) == GRAMSTEP_OK);
  EXPECT(gramstep_layout_add_group(layout, "slow", &slow) == GRAMSTEP_OK);
  EXPECT(gramstep_layout_add(layout, "trunk", trunk, 2, GRAMSTEP_SHARED, NULL) == GRAMSTEP_OK);
  EXPECT(gramstep_layout_add(layout, "scale", NULL, 0, GRAMSTEP_SHARED, "slow") == GRAMSTEP_OK);
  EXPECT(gramstep_layout_add(layout, "head", head, 1, 1, NULL) == GRAMSTEP_OK);
  EXPECT(refused(gramstep_layout_add(layout, "head", head, 1, 1, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "head"));
  EXPECT(refused(gramstep_layout_add(layout, "x", head, 1, 0, "fast"), GRAMSTEP_INVALID_ARGUMENT,
                 "fast"));
  EXPECT(refused(gramstep_layout_add(layout, "x", head, -1, 0, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "dimensions"));
  EXPECT(refused(gramstep_layout_add(layout, NULL, head, 1, 0, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "name"));
  EXPECT(refused(gramstep_layout_add(NULL, "x", head, 1, 0, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "layout"));
  EXPECT(gramstep_layout_sizes(layout, &size, &shared, &heads) == GRAMSTEP_OK);
  EXPECT(size == SIZE && shared == SHARED && heads == HEADS);
  EXPECT(gramstep_layout_segment(layout, "head", &offset, &size) == GRAMSTEP_OK);
  EXPECT(offset == SHARED && size == 7);
  EXPECT(refused(gramstep_layout_segment(layout, "tail", &offset, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "tail"));
  *made = layout;
  return NULL;
}

static const char* make_options(gramstep_options* options) {
  EXPECT(refused(gramstep_options_init(NULL), GRAMSTEP_INVALID_ARGUMENT, "options"));
  EXPECT(gramstep_options_init(options) == GRAMSTEP_OK);
  EXPECT(options->rule == NULL && options->schedule == NULL && options->warmup_steps == 0);
  EXPECT(options->dynamic_loss_scale == 0 && options->growth_interval == 2000);
  EXPECT(options->tasks == 1 && options->loss_scale == 1.0 && isinf(options->clip_norm));
  options->rule = "AdamW";
  options->aggregator = "PCGrad(seed=7)";
  options->tasks = 2;
  options->non_finite = GRAMSTEP_NON_FINITE_ERROR;
  return NULL;
}

static const char* refuse_options(const gramstep_layout* layout, const gramstep_options* good) {
  gramstep_optimizer* optimizer = NULL;
  gramstep_options options = *good;
  options.struct_size -= 1;
  EXPECT(refused(gramstep_optimizer_create(&optimizer, layout, &options), GRAMSTEP_INVALID_ARGUMENT,
                 "struct_size"));
  options = *good;
  options.tasks = 1; /* the layout has a head of task 1 */
  EXPECT(refused(gramstep_optimizer_create(&optimizer, layout, &options), GRAMSTEP_INVALID_ARGUMENT,
                 "tasks"));
  options = *good;
  options.aggregator = "Constant"; /* without weights */
  EXPECT(refused(gramstep_optimizer_create(&optimizer, layout, &options), GRAMSTEP_INVALID_ARGUMENT,
                 "Constant.values"));
  options.aggregator = "PCGrad(speed=7)";
  EXPECT(refused(gramstep_optimizer_create(&optimizer, layout, &options), GRAMSTEP_INVALID_ARGUMENT,
                 "seed"));
  options = *good;
  options.rule = "AdamW(lr=nan)";
  EXPECT(refused(gramstep_optimizer_create(&optimizer, layout, &options), GRAMSTEP_INVALID_ARGUMENT,
                 "AdamW.lr"));
  options.rule = "AdamX";
  EXPECT(refused(gramstep_optimizer_create(&optimizer, layout, &options), GRAMSTEP_INVALID_ARGUMENT,
                 "Adamax"));
  options = *good;
  options.schedule = "StepLR(step_size=0)";
  EXPECT(refused(gramstep_optimizer_create(&optimizer, layout, &options), GRAMSTEP_INVALID_ARGUMENT,
                 "StepLR.step_size"));
  options = *good;
  options.dynamic_loss_scale = 1;
  options.growth_interval = 0;
  EXPECT(refused(gramstep_optimizer_create(&optimizer, layout, &options), GRAMSTEP_INVALID_ARGUMENT,
                 "growth_interval"));
  options = *good;
  options.device = GRAMSTEP_CUDA;
  options.ordinal = gramstep_cuda_devices();
  EXPECT(refused(gramstep_optimizer_create(&optimizer, layout, &options),
                 GRAMSTEP_DEVICE_UNAVAILABLE, "cuda"));
  EXPECT(refused(gramstep_optimizer_create(&optimizer, NULL, good), GRAMSTEP_INVALID_ARGUMENT,
                 "layout"));
  EXPECT(optimizer == NULL);
  return NULL;
}

static const char* take_steps(gramstep_optimizer* optimizer) {
  static float params[SIZE], left[SHARED], right[SHARED], heads[HEADS];
  const void* rows[2];
  gramstep_gradients gradients, wrong;
  int e;
  rows[0] = left;
  rows[1] = right;
  memset(&gradients, 0, sizeof gradients);
  gradients.struct_size = sizeof gradients;
  gradients.rows = rows;
  gradients.tasks = 2;
  gradients.row_size = SHARED;
  gradients.heads = heads;
  gradients.heads_size = HEADS;
  for (e = 0; e < SHARED; ++e) {
    left[e] = 1.0f;
    right[e] = e == 0 ? 1.0f : -1.0f;
  }
  for (e = 0; e < HEADS; ++e) heads[e] = 1.0f;
  for (e = 0; e < 3; ++e) {
    EXPECT(gramstep_step(optimizer, params, SIZE, &gradients, NULL) == GRAMSTEP_OK);
  }
  EXPECT(strcmp(gramstep_last_error(), "") == 0);
  EXPECT(params[0] != 0.0f && params[SHARED] != 0.0f && params[15] == 0.0f);
  wrong = gradients;
  wrong.tasks = 3;
  EXPECT(refused(gramstep_step(optimizer, params, SIZE, &wrong, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "rows"));
  wrong = gradients;
  wrong.losses_size = 2; /* and no losses */
  EXPECT(refused(gramstep_step(optimizer, params, SIZE, &wrong, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "losses"));
  wrong = gradients;
  wrong.struct_size += 1;
  EXPECT(refused(gramstep_step(optimizer, params, SIZE, &wrong, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "struct_size"));
  EXPECT(refused(gramstep_step(optimizer, NULL, SIZE, &gradients, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "params"));
  EXPECT(refused(gramstep_step(optimizer, params, -1, &gradients, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "params_size"));
  EXPECT(refused(gramstep_step(optimizer, params, SIZE, NULL, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "gradients"));
  EXPECT(refused(gramstep_step(NULL, params, SIZE, &gradients, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "optimizer"));
  heads[6] = INFINITY;
  EXPECT(refused(gramstep_step(optimizer, params, SIZE, &gradients, NULL),
                 GRAMSTEP_NON_FINITE_GRADIENT, "finite"));
  EXPECT(gramstep_set_active(optimizer, "head", 0, NULL) == GRAMSTEP_OK);
  EXPECT(gramstep_set_lr(optimizer, 0.5, NULL) == GRAMSTEP_OK);
  EXPECT(gramstep_set_loss_scale(optimizer, 2.0, NULL) == GRAMSTEP_OK);
  EXPECT(gramstep_step(optimizer, params, SIZE, &gradients, NULL) == GRAMSTEP_OK);
  return NULL;
}

static const char* read_report(const gramstep_optimizer* optimizer) {
  gramstep_report report;
  gramstep_report_arrays arrays;
  double weights[2], gram[4], cosines[4], norms[2], dots[2];
  int32_t kept = 0;
  int64_t steps = 0;
  memset(&arrays, 0, sizeof arrays);
  arrays.struct_size = sizeof arrays;
  arrays.weights = weights;
  arrays.gram = gram;
  arrays.cosines = cosines;
  arrays.gradient_norms = norms;
  arrays.dots = dots;
  arrays.promises_kept = &kept;
  EXPECT(gramstep_optimizer_report(optimizer, &report, &arrays, NULL) == GRAMSTEP_OK);
  EXPECT(report.projections == 1 && report.mean_steps == 4 && report.mean_conflict_rate == 1);
  EXPECT(dots[0] == 1.875 * (4 - 3.5) && dots[1] == dots[0] && kept == 1);
  EXPECT(report.tasks == 2 && report.steps == 4 && report.skipped_steps == 1);
  EXPECT(report.of_momenta == 0);
  EXPECT(report.looked == 1 && report.skipped == 0 && report.lr == 0.5);
  /* 16 elements, one of them alike, at a loss scale of 2. */
  EXPECT(gram[0] == 4 && gram[3] == 4 && gram[1] == -3.5 && gram[2] == -3.5);
  EXPECT(cosines[0] == 1 && cosines[1] == -0.875 && norms[0] == 2 && norms[1] == 2);
  EXPECT(weights[0] == 1.875 && weights[1] == 1.875 && report.conflict_rate == 1);
  EXPECT(report.heads_norm == 0 && report.norm == report.clipped_norm);
  EXPECT(gramstep_optimizer_report(optimizer, NULL, NULL, NULL) == GRAMSTEP_OK);
  EXPECT(gramstep_segment_steps(optimizer, "trunk", &steps, NULL) == GRAMSTEP_OK && steps == 4);
  EXPECT(gramstep_segment_steps(optimizer, "head", &steps, NULL) == GRAMSTEP_OK && steps == 3);
  return NULL;
}

static const char* read_state(gramstep_optimizer* optimizer, gramstep_optimizer* other) {
  const int64_t counts[] = {7, 6, 5};
  float *state = NULL, *copied = NULL;
  int64_t size = 0;
  EXPECT(gramstep_state_count(optimizer) == 2 && gramstep_state_count(NULL) == -1);
  EXPECT(strcmp(gramstep_state_name(optimizer, 0), "exp_avg") == 0);
  EXPECT(strcmp(gramstep_state_name(optimizer, 1), "exp_avg_sq") == 0);
  EXPECT(gramstep_state_name(optimizer, 2) == NULL && gramstep_state_name(optimizer, -1) == NULL);
  EXPECT(gramstep_state(optimizer, "exp_avg", &state, &size) == GRAMSTEP_OK);
  EXPECT(size == SIZE && state[0] != 0.0f);
  EXPECT(refused(gramstep_state(optimizer, "velocity", &state, &size), GRAMSTEP_INVALID_ARGUMENT,
                 "velocity"));
  EXPECT(gramstep_copy_state(other, optimizer) == GRAMSTEP_OK);
  EXPECT(gramstep_state(other, "exp_avg", &copied, NULL) == GRAMSTEP_OK);
  EXPECT(gramstep_set_steps(other, 7, counts, 3, NULL) == GRAMSTEP_OK);
  EXPECT(gramstep_segment_steps(other, "head", &size, NULL) == GRAMSTEP_OK && size == 5);
  EXPECT(refused(gramstep_set_steps(other, 7, counts, 1, NULL), GRAMSTEP_INVALID_ARGUMENT,
                 "segment_steps"));
  EXPECT(copied != state && memcmp(copied, state, 15 * sizeof *state) == 0);
  return NULL;
}

/* Returns what went wrong, or null. */
const char* gramstep_c_smoke(void);
const char* gramstep_c_smoke(void) {
  gramstep_layout* layout = NULL;
  gramstep_optimizer *optimizer = NULL, *other = NULL;
  gramstep_options options;
  const char* wrong;
  EXPECT(gramstep_version() / 1000 == GRAMSTEP_C_VERSION_MAJOR);
  EXPECT(strcmp(gramstep_status_name(GRAMSTEP_INVALID_ARGUMENT), "invalid argument") == 0);
  EXPECT(gramstep_status_name((gramstep_status)99) != NULL);
  EXPECT(strlen(gramstep_cpu_isa()) > 0);
  if ((wrong = make_layout(&layout)) != NULL) return wrong;
  if ((wrong = make_options(&options)) != NULL) return wrong;
  if ((wrong = refuse_options(layout, &options)) != NULL) return wrong;
  EXPECT(gramstep_optimizer_create(&optimizer, layout, &options) == GRAMSTEP_OK);
  EXPECT(gramstep_optimizer_create(&other, layout, &options) == GRAMSTEP_OK);
  gramstep_layout_destroy(layout); /* optimizers made from it live on */
  if ((wrong = take_steps(optimizer)) != NULL) return wrong;
  if ((wrong = read_report(optimizer)) != NULL) return wrong;
  if ((wrong = read_state(optimizer, other)) != NULL) return wrong;
  gramstep_optimizer_destroy(optimizer);
  gramstep_optimizer_destroy(other);
  gramstep_optimizer_destroy(NULL);
  gramstep_layout_destroy(NULL);
  return NULL;
}
