/* The stages alone, for those who keep their own optimizer; see gramstep/aggregation.hpp. What gramstep.h says
 * of statuses, strings and memory holds here too.
 */
#ifndef GRAMSTEP_AGGREGATION_H
#define GRAMSTEP_AGGREGATION_H

#include "gramstep/gramstep.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Everything an aggregation is made from. Set it by gramstep_aggregation_options_init. */
typedef struct gramstep_aggregation_options {
  size_t struct_size;
  const char* aggregator; /* as gramstep_options.aggregator */
  int64_t size;           /* N, elements of a row */
  int64_t batch; /* B, Gram matrices that one call of gramstep_aggregation_weights solves */
  double smoothing;
  int32_t tasks;     /* K */
  int32_t device;    /* gramstep_device */
  int32_t ordinal;   /* of the CUDA device */
  int32_t threads;   /* of the CPU, 0: OpenMP's default */
  int32_t gradients; /* gramstep_dtype of the rows */
  int32_t reserved;
} gramstep_aggregation_options;

/* Fills options with the defaults: the sum of two tasks, no rows, one matrix, the CPU. */
GRAMSTEP_C_API gramstep_status
gramstep_aggregation_options_init(gramstep_aggregation_options* options);

typedef struct gramstep_aggregation gramstep_aggregation;

/* Makes an aggregation. */
GRAMSTEP_C_API gramstep_status gramstep_aggregation_create(
    gramstep_aggregation** aggregation, const gramstep_aggregation_options* options);
/* Frees one; null is allowed. */
GRAMSTEP_C_API void gramstep_aggregation_destroy(gramstep_aggregation* aggregation);

/* gram [K, K] = G of `tasks` rows of N elements each; the array of rows is host memory. */
GRAMSTEP_C_API gramstep_status gramstep_aggregation_gram(gramstep_aggregation* aggregation,
                                                         const void* const* rows, int32_t tasks,
                                                         double* gram, void* stream);
/* weights [B, K] of gram [B, K, K]; losses [losses_size], null where none are needed. */
GRAMSTEP_C_API gramstep_status gramstep_aggregation_weights(gramstep_aggregation* aggregation,
                                                            const double* gram, double* weights,
                                                            const float* losses,
                                                            int64_t losses_size, void* stream);
/* combined [N] = the sum of weights [K] times rows. */
GRAMSTEP_C_API gramstep_status gramstep_aggregation_combine(gramstep_aggregation* aggregation,
                                                            const void* const* rows, int32_t tasks,
                                                            const double* weights, float* combined,
                                                            void* stream);
/* Of the last weights: iterations [B] and residuals [B]; either may be null. Waits for `stream`. */
GRAMSTEP_C_API gramstep_status gramstep_aggregation_solutions(
    const gramstep_aggregation* aggregation, int32_t* iterations, double* residuals, void* stream);
/* How many times gramstep_aggregation_weights was called. Waits for `stream`. */
GRAMSTEP_C_API gramstep_status gramstep_aggregation_steps(const gramstep_aggregation* aggregation,
                                                          int64_t* steps, void* stream);
/* Puts that count back; then the state, whose place depends on it. Waits for `stream`. */
GRAMSTEP_C_API gramstep_status gramstep_aggregation_set_steps(gramstep_aggregation* aggregation,
                                                              int64_t steps, void* stream);
/* The aggregator's state, as gramstep_plan_state and gramstep_set_plan_state. */
GRAMSTEP_C_API gramstep_status
gramstep_aggregation_plan_state(const gramstep_aggregation* aggregation, const char* name,
                                double* values, int64_t size, int64_t* needed, void* stream);
GRAMSTEP_C_API gramstep_status
gramstep_aggregation_set_plan_state(gramstep_aggregation* aggregation, const char* name,
                                    const double* values, int64_t size, void* stream);

#ifdef __cplusplus
}
#endif

#endif /* GRAMSTEP_AGGREGATION_H */
