/* gramstep's C99 ABI: the same core behind opaque handles and status codes.
 *
 * Every function returns a gramstep_status but where it says otherwise. On failure nothing was changed
 * and gramstep_last_error() tells, in the calling thread, what was wrong. Strings are UTF-8 and
 * null-terminated; sizes are in elements; pointers are host memory unless they are parameters,
 * gradients or state of a CUDA optimizer. Nothing is owned but what gramstep_*_create made. The stages alone
 * are in gramstep_aggregation.h.
 */
#ifndef GRAMSTEP_H
#define GRAMSTEP_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define GRAMSTEP_C_API __attribute__((visibility("default")))
#else
#define GRAMSTEP_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this interface: a program built against 1.x runs with any later 1.y. */
#define GRAMSTEP_C_VERSION_MAJOR 1
#define GRAMSTEP_C_VERSION_MINOR 0

/* Most tasks a step can combine. */
#define GRAMSTEP_MAX_TASKS 64

/* The owner of a segment for which every task has a gradient. */
#define GRAMSTEP_SHARED (-1)

typedef enum gramstep_status {
  GRAMSTEP_OK = 0,
  GRAMSTEP_INVALID_ARGUMENT = 1,
  GRAMSTEP_INVALID_STATE = 2,
  GRAMSTEP_DEVICE_UNAVAILABLE = 3,
  GRAMSTEP_OUT_OF_MEMORY = 4,
  GRAMSTEP_CUDA_ERROR = 5,
  GRAMSTEP_NON_FINITE_GRADIENT = 6,
  GRAMSTEP_INTERNAL_ERROR = 7
} gramstep_status;

/* The version of the library that is linked, GRAMSTEP_C_VERSION_MAJOR * 1000 + MINOR. */
GRAMSTEP_C_API int gramstep_version(void);

/* What the calling thread's last call that returned a status complained of, "" where it succeeded.
 * Valid until the thread's next call of a gramstep function. */
GRAMSTEP_C_API const char* gramstep_last_error(void);

/* The name of a status, e.g. "invalid argument". Never null. */
GRAMSTEP_C_API const char* gramstep_status_name(gramstep_status status);

/* Number of CUDA devices that can be used; 0 in a build without CUDA. */
GRAMSTEP_C_API int gramstep_cuda_devices(void);

/* The instruction set that the CPU backend uses, e.g. "x86-64-v4". */
GRAMSTEP_C_API const char* gramstep_cpu_isa(void);

/* ---- Layout: named segments of one flat buffer; see gramstep/layout.hpp ------------------------- */

typedef struct gramstep_layout gramstep_layout;

/* Makes an empty layout. */
GRAMSTEP_C_API gramstep_status gramstep_layout_create(gramstep_layout** layout);
/* Frees a layout; null is allowed. An optimizer made from it lives on. */
GRAMSTEP_C_API void gramstep_layout_destroy(gramstep_layout* layout);

/* Hyperparameters of a group. A NaN weight_decay and a negative maximize mean: as the rule has it. */
typedef struct gramstep_group_options {
  double lr_scale;
  double weight_decay;
  int32_t maximize;
  int32_t
      elementwise; /* 0 or 1: whether rules that treat matrices apart take none of its segments as one */
} gramstep_group_options;

/* Adds a group of segments that share hyperparameters. */
GRAMSTEP_C_API gramstep_status gramstep_layout_add_group(gramstep_layout* layout, const char* name,
                                                         const gramstep_group_options* options);

/* Adds a tensor of `dimensions` sizes shape[0..dimensions); task: its owner or GRAMSTEP_SHARED;
 * group: a name, or null for the default group. */
GRAMSTEP_C_API gramstep_status gramstep_layout_add(gramstep_layout* layout, const char* name,
                                                   const int64_t* shape, int32_t dimensions,
                                                   int32_t task, const char* group);

/* Elements of the whole flat buffer, of its shared part, and of its heads' part. Any may be null. */
GRAMSTEP_C_API gramstep_status gramstep_layout_sizes(const gramstep_layout* layout, int64_t* size,
                                                     int64_t* shared_size, int64_t* heads_size);

/* Where a segment is in the flat buffer. Either result may be null. */
GRAMSTEP_C_API gramstep_status gramstep_layout_segment(const gramstep_layout* layout,
                                                       const char* name, int64_t* offset,
                                                       int64_t* size);

/* ---- Optimizer: see gramstep/optimizer.hpp ------------------------------------------------------- */

typedef enum gramstep_projection {
  GRAMSTEP_PROJECT_MODEL = 0,  /* one Gram matrix for the whole shared part */
  GRAMSTEP_PROJECT_GROUP = 1,  /* one for every group that has shared segments */
  GRAMSTEP_PROJECT_SEGMENT = 2 /* one for every shared segment */
} gramstep_projection;

/* Number of aggregators, rules and schedules, and the name of one; null where there is none. */
GRAMSTEP_C_API int gramstep_aggregator_count(void);
GRAMSTEP_C_API const char* gramstep_aggregator_name(int index);
GRAMSTEP_C_API int gramstep_rule_count(void);
GRAMSTEP_C_API const char* gramstep_rule_name(int index);
GRAMSTEP_C_API int gramstep_schedule_count(void);
GRAMSTEP_C_API const char* gramstep_schedule_name(int index);

/* The text of an aggregator, a rule or a schedule with all its options, as gramstep_options takes it:
 * written to text [size], null-terminated. `needed` (may be null) is the size it takes. Fails with
 * GRAMSTEP_INVALID_ARGUMENT for a text that names none, or where it does not fit. */
GRAMSTEP_C_API gramstep_status gramstep_aggregator_text(const char* aggregator, char* text,
                                                        size_t size, size_t* needed);
GRAMSTEP_C_API gramstep_status gramstep_rule_text(const char* rule, char* text, size_t size,
                                                  size_t* needed);
GRAMSTEP_C_API gramstep_status gramstep_schedule_text(const char* schedule, char* text, size_t size,
                                                      size_t* needed);

typedef enum gramstep_non_finite {
  GRAMSTEP_NON_FINITE_DEFAULT = 0, /* skip where the gram stage runs anyway, else propagate */
  GRAMSTEP_NON_FINITE_SKIP = 1,
  GRAMSTEP_NON_FINITE_ERROR = 2,
  GRAMSTEP_NON_FINITE_PROPAGATE = 3
} gramstep_non_finite;

typedef enum gramstep_device { GRAMSTEP_CPU = 0, GRAMSTEP_CUDA = 1 } gramstep_device;

/* What the elements of a buffer are; see gramstep/precision.hpp. */
typedef enum gramstep_dtype {
  GRAMSTEP_FLOAT32 = 0,
  GRAMSTEP_BFLOAT16 = 1,
  GRAMSTEP_FLOAT16 = 2,
  GRAMSTEP_INT16 = 3,   /* of the state "remainder" alone */
  GRAMSTEP_DYNAMIC8 = 4 /* of the rule's state alone */
} gramstep_dtype;

/* What is kept beside 16-bit parameters. */
typedef enum gramstep_master {
  GRAMSTEP_MASTER_NONE = 0,
  GRAMSTEP_MASTER_FLOAT32 = 1,
  GRAMSTEP_MASTER_REMAINDER = 2
} gramstep_master;

/* How 16-bit parameters without a master, and 16-bit state, are rounded. */
typedef enum gramstep_rounding {
  GRAMSTEP_ROUND_NEAREST = 0,
  GRAMSTEP_ROUND_STOCHASTIC = 1,
  GRAMSTEP_ROUND_KAHAN = 2
} gramstep_rounding;

/* How everything is stored. All zero: fp32. */
typedef struct gramstep_precision {
  int32_t params;    /* gramstep_dtype */
  int32_t gradients; /* gramstep_dtype of rows and heads */
  int32_t master;    /* gramstep_master */
  int32_t states;    /* gramstep_dtype of the rule's state by element */
  int32_t rounding;  /* gramstep_rounding */
  int32_t reserved;
  uint64_t seed; /* of stochastic rounding */
} gramstep_precision;

/* Everything an optimizer is made from. Set it by gramstep_options_init, then change what differs.
 * struct_size is how the library knows which version of this struct it was given. Texts are read by
 * gramstep_optimizer_create and not kept; see gramstep/text.hpp. */
typedef struct gramstep_options {
  size_t struct_size;
  const char* rule;       /* such as "AdamW(lr=1e-3, weight_decay=0.1)"; null for SGD */
  const char* aggregator; /* such as "CAGrad(c=0.5)"; null for the sum */
  const char* schedule;   /* such as "CosineAnnealingLR(total_steps=1000)"; null: constant */
  int64_t warmup_steps;   /* before the schedule; 0: none */
  double warmup_start_factor;
  int32_t projection;         /* gramstep_projection */
  int32_t tasks;              /* K, 1 to GRAMSTEP_MAX_TASKS */
  int32_t device;             /* gramstep_device */
  int32_t ordinal;            /* of the CUDA device */
  int32_t threads;            /* of the CPU, 0: OpenMP's default */
  int32_t non_finite;         /* gramstep_non_finite */
  double clip_norm;           /* > 0, or infinity for none */
  double smoothing;           /* of the weights, CR-MOGM, in [0, 1); 0: none */
  double loss_scale;          /* > 0 */
  int32_t dynamic_loss_scale; /* whether it adapts, by the next three */
  int32_t zero_gradients;     /* whether every step leaves rows and heads at zero */
  double growth_factor;
  double backoff_factor;
  int64_t growth_interval;
  gramstep_precision precision;
  double ema_decay;      /* of an average of the parameters, state "ema", in [0, 1); NaN: none */
  int32_t offload_state; /* whether a CUDA optimizer keeps its state in pinned host memory */
  int32_t reserved;
} gramstep_options;

/* Fills options with the defaults: SGD, the sum of one task, the CPU. */
GRAMSTEP_C_API gramstep_status gramstep_options_init(gramstep_options* options);

typedef struct gramstep_optimizer gramstep_optimizer;

/* Makes an optimizer; the layout is copied. */
GRAMSTEP_C_API gramstep_status gramstep_optimizer_create(gramstep_optimizer** optimizer,
                                                         const gramstep_layout* layout,
                                                         const gramstep_options* options);
/* Frees an optimizer; null is allowed. */
GRAMSTEP_C_API void gramstep_optimizer_destroy(gramstep_optimizer* optimizer);

/* The gradients of one step, only read; rows and heads of the type that the options' precision says. */
typedef struct gramstep_gradients {
  size_t struct_size; /* sizeof(gramstep_gradients) */
  const void* const*
      rows; /* `tasks` pointers to row_size elements each; the array is host memory */
  int64_t row_size;
  const void* heads; /* [heads_size], null where there are none */
  int64_t heads_size;
  const float*
      losses; /* [losses_size], null where the aggregator needs none; host or device memory */
  int64_t losses_size;
  const float*
      grad_scale;         /* the step's loss scale, one number on the optimizer's device, or null */
  const float* found_inf; /* not 0: skip; one number on the optimizer's device, or null */
  int32_t tasks;
  int32_t reserved;
} gramstep_gradients;

/* Takes one step: params [params_size] of the type that the options' precision says, stream: a cudaStream_t
 * or null. */
GRAMSTEP_C_API gramstep_status gramstep_step(gramstep_optimizer* optimizer, void* params,
                                             int64_t params_size,
                                             const gramstep_gradients* gradients, void* stream);

/* What a step writes beside the parameters: a copy of them, and what it would add to them, which then stay as
 * they are; each [params_size], null for none, of a gramstep_dtype. */
typedef struct gramstep_outputs {
  size_t struct_size; /* sizeof(gramstep_outputs) */
  void* copy;
  void* delta;
  int32_t copy_dtype;
  int32_t delta_dtype;
} gramstep_outputs;

/* gramstep_step with outputs. */
GRAMSTEP_C_API gramstep_status gramstep_step_with_outputs(gramstep_optimizer* optimizer,
                                                          void* params, int64_t params_size,
                                                          const gramstep_gradients* gradients,
                                                          const gramstep_outputs* outputs,
                                                          void* stream);

/* sum [size] += scale * gradient [size], in fp32; dtype: the gradient's. */
GRAMSTEP_C_API gramstep_status gramstep_accumulate(gramstep_optimizer* optimizer, float* sum,
                                                   const void* gradient, int64_t size,
                                                   int32_t dtype, double scale, void* stream);

GRAMSTEP_C_API gramstep_status gramstep_set_lr(gramstep_optimizer* optimizer, double lr,
                                               void* stream);
/* All of the rule's options, or a rule that the present one's state allows; see Optimizer::set_rule. */
GRAMSTEP_C_API gramstep_status gramstep_set_rule(gramstep_optimizer* optimizer, const char* rule,
                                                 void* stream);
/* schedule: null for a constant learning rate. */
GRAMSTEP_C_API gramstep_status gramstep_set_schedule(gramstep_optimizer* optimizer,
                                                     const char* schedule, int64_t warmup_steps,
                                                     double warmup_start_factor, void* stream);
GRAMSTEP_C_API gramstep_status gramstep_set_clip_norm(gramstep_optimizer* optimizer,
                                                      double clip_norm, void* stream);
/* Where the loss scale of the next step is, one float on the optimizer's device. */
GRAMSTEP_C_API gramstep_status gramstep_loss_scale_data(const gramstep_optimizer* optimizer,
                                                        const float** data);
/* out [size] = the parameters to evaluate a model with, of params [size]; they may be the same memory. */
GRAMSTEP_C_API gramstep_status gramstep_evaluation_params(gramstep_optimizer* optimizer,
                                                          const void* params, void* out,
                                                          int64_t size, void* stream);
GRAMSTEP_C_API gramstep_status gramstep_set_loss_scale(gramstep_optimizer* optimizer,
                                                       double loss_scale, void* stream);
GRAMSTEP_C_API gramstep_status gramstep_set_active(gramstep_optimizer* optimizer,
                                                   const char* segment, int32_t active,
                                                   void* stream);

/* What the last step saw and decided, apart from what is one number a task or a pair. */
typedef struct gramstep_report {
  int32_t tasks;
  int32_t skipped; /* whether the last step was skipped */
  int32_t looked;  /* whether the last step had a gram stage; if not, norms and matrices are NaN */
  int32_t projections; /* P */
  int64_t steps;
  int64_t skipped_steps;
  double conflict_rate;
  double heads_norm;
  double norm;
  double clipped_norm;
  double lr;
  int64_t mean_steps; /* over how many steps the means are */
  double mean_conflict_rate;
  int32_t of_momenta; /* whether gram and what follows from it is of the aggregator's momenta */
  int32_t reserved;
} gramstep_report;

/* What it saw and decided by task, pair and projection: arrays of the caller's, any of which may be
 * null. */
typedef struct gramstep_report_arrays {
  size_t struct_size;         /* sizeof(gramstep_report_arrays) */
  double* weights;            /* [P, K] */
  double* gram;               /* [P, K, K] */
  double* cosines;            /* [P, K, K] */
  double* gradient_norms;     /* [P, K] */
  double* projection_norms;   /* [P] of the combined gradient */
  double* dots;               /* [P, K] g_i . d */
  double* dot_cosines;        /* [P, K] */
  double* residuals;          /* [P] how far the weights miss the aggregator's promise, relative */
  int32_t* iterations;        /* [P] of the aggregator's solve */
  int32_t* promises_kept;     /* [P] 0 or 1 */
  double* mean_weights;       /* [P, K] */
  double* mean_cosines;       /* [P, K, K] */
  double* mean_promises_kept; /* [P] */
} gramstep_report_arrays;

/* Waits for `stream` and reports. Either result may be null. */
GRAMSTEP_C_API gramstep_status gramstep_optimizer_report(const gramstep_optimizer* optimizer,
                                                         gramstep_report* report,
                                                         const gramstep_report_arrays* arrays,
                                                         void* stream);

/* What the aggregator promises, in words; "" for nothing. Never null. */
GRAMSTEP_C_API const char* gramstep_promise(const gramstep_optimizer* optimizer);

/* How many steps a segment took. Waits for `stream`; see gramstep_set_steps. */
GRAMSTEP_C_API gramstep_status gramstep_segment_steps(const gramstep_optimizer* optimizer,
                                                      const char* segment, int64_t* steps,
                                                      void* stream);

/* Puts back the step counts of a run that was saved: the optimizer's, gramstep_report.steps, and those of
 * the segments, one for each in the order in which they were added to the layout. Then the plan's state
 * and the momenta, whose place depends on the count, and the rule's state; the run goes on to the same
 * bits. Waits for `stream`. */
GRAMSTEP_C_API gramstep_status gramstep_set_steps(gramstep_optimizer* optimizer, int64_t steps,
                                                  const int64_t* segment_steps, int64_t segments,
                                                  void* stream);

/* The number of state buffers that the rule keeps with these options. Returns the count, not a status;
 * -1 for a null optimizer. */
GRAMSTEP_C_API int gramstep_state_count(const gramstep_optimizer* optimizer);
/* The name of state `index`, as torch.optim names it; null where there is none. */
GRAMSTEP_C_API const char* gramstep_state_name(const gramstep_optimizer* optimizer, int index);
/* State by name: a flat buffer laid out as the parameters, on the optimizer's device. Of a rule that keeps
 * other state of matrices than of other segments there is none, but for each segment's. */
GRAMSTEP_C_API gramstep_status gramstep_state(gramstep_optimizer* optimizer, const char* name,
                                              float** data, int64_t* size);
/* A segment's state by name. */
GRAMSTEP_C_API gramstep_status gramstep_state_of(gramstep_optimizer* optimizer, const char* name,
                                                 const char* segment, float** data, int64_t* size);

/* State by name of any type, [size] elements: of a segment, or all of it where segment is null. Results may
 * be null. gramstep_state and gramstep_state_of give fp32 state alone. */
GRAMSTEP_C_API gramstep_status gramstep_stored_state(gramstep_optimizer* optimizer,
                                                     const char* name, const char* segment,
                                                     void** data, int64_t* size, int32_t* dtype);

/* The scalars that the rule keeps for every segment, as gramstep_state_count and gramstep_state_name. */
GRAMSTEP_C_API int gramstep_segment_state_count(const gramstep_optimizer* optimizer);
GRAMSTEP_C_API const char* gramstep_segment_state_name(const gramstep_optimizer* optimizer,
                                                       int index);
/* One such scalar of all segments, in the order in which they were added to the layout, to and from
 * values [segments]. Wait for `stream`. */
GRAMSTEP_C_API gramstep_status gramstep_segment_state(const gramstep_optimizer* optimizer,
                                                      const char* name, double* values,
                                                      int64_t segments, void* stream);
GRAMSTEP_C_API gramstep_status gramstep_set_segment_state(gramstep_optimizer* optimizer,
                                                          const char* name, const double* values,
                                                          int64_t segments, void* stream);

/* The number of pieces of state that the plan keeps for the aggregator, as gramstep_state_count. */
GRAMSTEP_C_API int gramstep_plan_state_count(const gramstep_optimizer* optimizer);
/* The name of a piece; null where there is none. */
GRAMSTEP_C_API const char* gramstep_plan_state_name(const gramstep_optimizer* optimizer, int index);
/* A piece of the plan's state in double, all projections': copied to values [size]. `needed` (may be
 * null) is its size; it alone is written where values is null. Waits for `stream`. */
GRAMSTEP_C_API gramstep_status gramstep_plan_state(const gramstep_optimizer* optimizer,
                                                   const char* name, double* values, int64_t size,
                                                   int64_t* needed, void* stream);
/* Replaces it; in an optimizer that took no step, gramstep_set_steps comes first. Waits for `stream`. */
GRAMSTEP_C_API gramstep_status gramstep_set_plan_state(gramstep_optimizer* optimizer,
                                                       const char* name, const double* values,
                                                       int64_t size, void* stream);
/* The momentum that the aggregator keeps of a task's gradient, as of the last step, on the optimizer's
 * device; valid until the next step or gramstep_set_steps. Waits for `stream`. */
GRAMSTEP_C_API gramstep_status gramstep_task_momentum(gramstep_optimizer* optimizer, int32_t task,
                                                      float** data, int64_t* size, void* stream);

/* Copies state and step counts between optimizers of one layout, rule and aggregator, on any devices. */
GRAMSTEP_C_API gramstep_status gramstep_copy_state(gramstep_optimizer* to,
                                                   const gramstep_optimizer* from);

#ifdef __cplusplus
}
#endif

#endif /* GRAMSTEP_H */
