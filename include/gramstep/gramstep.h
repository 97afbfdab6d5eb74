/* gramstep's C99 ABI: the same core behind opaque handles and status codes.
 *
 * Every function returns a gramstep_status but where it says otherwise. On failure nothing was changed
 * and gramstep_last_error() tells, in the calling thread, what was wrong. Strings are UTF-8 and
 * null-terminated; sizes are in elements; pointers are host memory unless they are parameters,
 * gradients or state of a CUDA optimizer. Nothing is owned but what gramstep_*_create made.
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

typedef enum gramstep_rule {
  GRAMSTEP_SGD = 0,
  GRAMSTEP_ADAM = 1,
  GRAMSTEP_ADAMW = 2
} gramstep_rule;

typedef enum gramstep_aggregator {
  GRAMSTEP_SUM = 0,
  GRAMSTEP_MEAN = 1,
  GRAMSTEP_CONSTANT = 2,
  GRAMSTEP_PCGRAD = 3
} gramstep_aggregator;

typedef enum gramstep_non_finite {
  GRAMSTEP_NON_FINITE_DEFAULT = 0, /* skip where the gram stage runs anyway, else propagate */
  GRAMSTEP_NON_FINITE_SKIP = 1,
  GRAMSTEP_NON_FINITE_ERROR = 2,
  GRAMSTEP_NON_FINITE_PROPAGATE = 3
} gramstep_non_finite;

typedef enum gramstep_device { GRAMSTEP_CPU = 0, GRAMSTEP_CUDA = 1 } gramstep_device;

/* Everything an optimizer is made from. Set it by gramstep_options_init, then change what differs;
 * fields that the rule or aggregator does not have are ignored. struct_size is how the library knows
 * which version of this struct it was given. */
typedef struct gramstep_options {
  size_t struct_size;
  int32_t rule;       /* gramstep_rule */
  int32_t aggregator; /* gramstep_aggregator */
  int32_t tasks;      /* K, 1 to GRAMSTEP_MAX_TASKS */
  int32_t device;     /* gramstep_device */
  int32_t ordinal;    /* of the CUDA device */
  int32_t threads;    /* of the CPU, 0: OpenMP's default */
  int32_t non_finite; /* gramstep_non_finite */
  int32_t maximize;   /* ascend instead of descend */
  double lr;
  double weight_decay;
  double clip_norm;               /* > 0, or infinity for none */
  double loss_scale;              /* > 0 */
  double momentum;                /* SGD */
  double dampening;               /* SGD */
  int32_t nesterov;               /* SGD */
  int32_t amsgrad;                /* Adam, AdamW */
  double beta1;                   /* Adam, AdamW */
  double beta2;                   /* Adam, AdamW */
  double epsilon;                 /* Adam, AdamW */
  const double* constant_weights; /* Constant: [tasks], copied */
  int32_t mean_reduction;         /* PCGrad: mean over tasks instead of their sum */
  int32_t fixed_order;            /* PCGrad: tasks meet by index instead of in a fresh order */
  uint64_t seed;                  /* PCGrad */
} gramstep_options;

/* Fills options with the defaults of a rule (its own lr, decay, ...), the sum of one task, the CPU. */
GRAMSTEP_C_API gramstep_status gramstep_options_init(gramstep_options* options, int32_t rule);

typedef struct gramstep_optimizer gramstep_optimizer;

/* Makes an optimizer; the layout is copied. */
GRAMSTEP_C_API gramstep_status gramstep_optimizer_create(gramstep_optimizer** optimizer,
                                                         const gramstep_layout* layout,
                                                         const gramstep_options* options);
/* Frees an optimizer; null is allowed. */
GRAMSTEP_C_API void gramstep_optimizer_destroy(gramstep_optimizer* optimizer);

/* Takes one step: params [params_size], rows: `tasks` pointers to row_size floats each (the array is
 * host memory), heads [heads_size] (null where there are none), stream: a cudaStream_t or null. */
GRAMSTEP_C_API gramstep_status gramstep_step(gramstep_optimizer* optimizer, float* params,
                                             int64_t params_size, const float* const* rows,
                                             int32_t tasks, int64_t row_size, const float* heads,
                                             int64_t heads_size, void* stream);

GRAMSTEP_C_API gramstep_status gramstep_set_lr(gramstep_optimizer* optimizer, double lr,
                                               void* stream);
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
  int32_t reserved;
  int64_t steps;
  int64_t skipped_steps;
  double conflict_rate;
  double heads_norm;
  double norm;
  double clipped_norm;
  double lr;
} gramstep_report;

/* Waits for `stream` and reports. weights [K], gram [K, K], cosines [K, K], gradient_norms [K]: any
 * may be null. */
GRAMSTEP_C_API gramstep_status gramstep_optimizer_report(const gramstep_optimizer* optimizer,
                                                         gramstep_report* report, double* weights,
                                                         double* gram, double* cosines,
                                                         double* gradient_norms, void* stream);

/* How many steps a segment took. Waits for `stream`. */
GRAMSTEP_C_API gramstep_status gramstep_segment_steps(const gramstep_optimizer* optimizer,
                                                      const char* segment, int64_t* steps,
                                                      void* stream);

/* The number of state buffers that the rule keeps with these options. Returns the count, not a status;
 * -1 for a null optimizer. */
GRAMSTEP_C_API int gramstep_state_count(const gramstep_optimizer* optimizer);
/* The name of state `index`, as torch.optim names it; null where there is none. */
GRAMSTEP_C_API const char* gramstep_state_name(const gramstep_optimizer* optimizer, int index);
/* State by name: a flat buffer laid out as the parameters, on the optimizer's device. */
GRAMSTEP_C_API gramstep_status gramstep_state(gramstep_optimizer* optimizer, const char* name,
                                              float** data, int64_t* size);

/* Copies state and step counts between optimizers of one layout and one rule, on any devices. */
GRAMSTEP_C_API gramstep_status gramstep_copy_state(gramstep_optimizer* to,
                                                   const gramstep_optimizer* from);

#ifdef __cplusplus
}
#endif

#endif /* GRAMSTEP_H */
