/* One row of the fused draw. kernel.c includes this file once per instruction set, with ISA(name) naming the copy.
 *
 * Everything works on blocks of BLOCK tokens that stay in the first-level cache, in loops plain enough for the compiler to vectorise. */

#if defined(__FMA__) || defined(__AVX512F__) || defined(__ARM_FEATURE_FMA)
#define MULTIPLY_ADD(a, b, c) __builtin_fmaf((a), (b), (c))
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif

/* exp(x) for x <= 0, relative error below 2e-7; x below -87 counts as -87, which no sum in this file can tell from 0. NaN stays NaN. */
static inline float ISA(exp_of_nonpositive)(float x) {
  x = x < -87.0f ? -87.0f : x;
  /* Adding and taking away 1.5 * 2^23 rounds to the nearest whole number. */
  const float whole = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  float r = MULTIPLY_ADD(whole, -0.693145752f, x); /* ln 2 in two parts, so that the remainder is exact */
  r = MULTIPLY_ADD(whole, -1.42860677e-6f, r);
  float p = 1.3888889e-3f; /* Taylor to degree 6: |r| <= ln(2)/2 leaves 1.2e-7 */
  p = MULTIPLY_ADD(p, r, 8.3333333e-3f);
  p = MULTIPLY_ADD(p, r, 4.1666667e-2f);
  p = MULTIPLY_ADD(p, r, 1.6666667e-1f);
  p = MULTIPLY_ADD(p, r, 0.5f);
  p = MULTIPLY_ADD(p, r, 1.0f);
  p = MULTIPLY_ADD(p, r, 1.0f);
  union { float f; int32_t i; } power = {.f = p};
  power.i += (int32_t)whole * (1 << 23);
  return power.f;
}

/* Read BLOCK logits from `first` on as fp32; places past the vocabulary's end hold -inf. */
static inline void ISA(read_block)(const struct logits *from, int64_t row, int64_t first, int64_t vocabulary, float *out) {
  const int64_t start = row * from->row_stride + first;
  const int64_t left = vocabulary - first;
  const int size = left < BLOCK ? (int)left : BLOCK;
  if (from->is_bf16) {
    const uint16_t *source = (const uint16_t *)from->data + start;
    uint32_t bits[BLOCK];
    if (size == BLOCK) {
      for (int i = 0; i < BLOCK; i++) bits[i] = (uint32_t)source[i] << 16;
    } else {
      for (int i = 0; i < size; i++) bits[i] = (uint32_t)source[i] << 16;
    }
    memcpy(out, bits, (size_t)size * sizeof(float));
  } else {
    memcpy(out, (const float *)from->data + start, (size_t)size * sizeof(float));
  }
  for (int i = size; i < BLOCK; i++) out[i] = -INFINITY;
}

static inline float ISA(largest)(const float *z) {
  float peak = -INFINITY;
#pragma omp simd reduction(max : peak)
  for (int i = 0; i < BLOCK; i++) peak = z[i] > peak ? z[i] : peak;
  return peak;
}

/* Adds exp(z) of a block to a running sum that is kept relative to the largest logit so far. */
static inline void ISA(add_exponentials)(struct log_sum *sum, const float *z, float peak) {
  if (peak == -INFINITY) return;
  if (peak > sum->peak) {
    sum->total *= exp((double)sum->peak - peak);
    sum->peak = peak;
  }
  const float reference = sum->peak;
  float block = 0.0f;
#pragma omp simd reduction(+ : block)
  for (int i = 0; i < BLOCK; i++) block += ISA(exp_of_nonpositive)(z[i] - reference);
  sum->total += block;
}

/* Divides a block of logits by the row's temperature in place and adjusts it: `z`, or `adjusted` where the row is adjusted. */
static inline const float *ISA(adjust_block)(const struct draw *draw, int64_t row, int64_t first, float *z, float *other, float *adjusted) {
  const float divisor = draw->temperature ? draw->temperature[row] : 1.0f;
  if (divisor != 1.0f) {
    for (int i = 0; i < BLOCK; i++) z[i] /= divisor;
  }
  const int64_t other_row = draw->adjustment == NOT_ADJUSTED ? -1 : draw->adjustment_row[row];
  if (other_row < 0) return z;
  ISA(read_block)(&draw->other, other_row, first, draw->vocabulary, other);
  if (draw->adjustment == GIVEN) {
    memcpy(adjusted, other, BLOCK * sizeof(float));
    return adjusted;
  }
  const float other_divisor = draw->adjustment_temperature ? draw->adjustment_temperature[row] : 1.0f;
  if (other_divisor != 1.0f) {
    for (int i = 0; i < BLOCK; i++) other[i] /= other_divisor;
  }
  const float beta = draw->beta ? draw->beta[row] : 0.0f;
  /* In this order, and never contracted to a multiply-add: the same bits as the torch reference. */
  for (int i = 0; i < BLOCK; i++) adjusted[i] = z[i] == -INFINITY ? -INFINITY : z[i] + beta * (z[i] - other[i]);
  return adjusted;
}

static void ISA(draw_row)(const struct draw *draw, int64_t row) {
  const int64_t vocabulary = draw->vocabulary;
  const int64_t other_row = draw->adjustment == NOT_ADJUSTED ? -1 : draw->adjustment_row[row];
  const int is_adjusted = other_row >= 0;
  const int is_greedy = draw->is_greedy && draw->is_greedy[row];
  const int is_drawn_twice = draw->unadjusted_tokens && is_adjusted && !is_greedy;
  const float divisor = draw->temperature ? draw->temperature[row] : 1.0f;
  const float other_divisor = draw->adjustment_temperature ? draw->adjustment_temperature[row] : 1.0f;
  const float beta = draw->beta ? draw->beta[row] : 0.0f;
  const int wants_logprob = draw->logprobs != NULL && !is_greedy;
  const int wants_plain = draw->plain_logprobs != NULL;
  /* Without a temperature, filters or an adjustment the two distributions are one: its exponentials are taken once. */
  const int is_same = wants_plain && draw->plain.data == draw->logits.data && draw->plain.is_bf16 == draw->logits.is_bf16 && divisor == 1.0f;
  const int shares_sum = is_same && !is_adjusted && !is_greedy && wants_logprob;
  const int sums_unadjusted = draw->unadjusted_logprobs && is_adjusted && !is_greedy && !is_same;

  struct log_sum sum = {-INFINITY, 0.0}, plain_sum = {-INFINITY, 0.0}, unadjusted_sum = {-INFINITY, 0.0};
  struct best best = {-INFINITY, 0}, unadjusted = {-INFINITY, 0};
  int64_t num_candidates = 0;
  const uint64_t stream = mix((uint64_t)draw->seeds[row]);

  for (int64_t first = 0; first < vocabulary; first += BLOCK) {
    float z[BLOCK], adjusted_block[BLOCK], other[BLOCK];
    ISA(read_block)(&draw->logits, row, first, vocabulary, z);
    if (wants_plain && !shares_sum) {
      if (is_same || (draw->plain.data == draw->logits.data && draw->plain.is_bf16 == draw->logits.is_bf16)) {
        ISA(add_exponentials)(&plain_sum, z, ISA(largest)(z)); /* before the division below */
      } else {
        ISA(read_block)(&draw->plain, row, first, vocabulary, other);
        ISA(add_exponentials)(&plain_sum, other, ISA(largest)(other));
      }
    }
    const float *a = ISA(adjust_block)(draw, row, first, z, other, adjusted_block);
    const float peak = ISA(largest)(a);
    const float unadjusted_peak = is_drawn_twice || sums_unadjusted ? ISA(largest)(z) : -INFINITY;
    if (peak == -INFINITY && unadjusted_peak == -INFINITY) continue;
    if (sums_unadjusted) ISA(add_exponentials)(&unadjusted_sum, z, unadjusted_peak);
    if (wants_logprob) ISA(add_exponentials)(&sum, a, peak);
    if (draw->num_candidates) {
      int block = 0;
#pragma omp simd reduction(+ : block)
      for (int i = 0; i < BLOCK; i++) block += a[i] > -INFINITY;
      num_candidates += block;
    }
    if (is_greedy) {
      if (peak > best.score) {
        int i = 0;
        while (a[i] != peak) i++;
        best = (struct best){peak, first + i};
      }
      continue;
    }
    uint64_t threshold = threshold_of(best.score - peak);
    if (is_drawn_twice) {
      const uint64_t lower = threshold_of(unadjusted.score - unadjusted_peak);
      threshold = lower < threshold ? lower : threshold;
    }
    uint64_t hashes[BLOCK];
    int num_close = 0;
    for (int i = 0; i < BLOCK; i++) hashes[i] = mix(stream + (uint64_t)(first + i + 1) * GOLDEN);
#pragma omp simd reduction(+ : num_close)
    for (int i = 0; i < BLOCK; i++) num_close += hashes[i] >= threshold;
    if (num_close == 0) continue;
    for (int i = 0; i < BLOCK; i++) {
      if (hashes[i] < threshold) continue;
      const double noise = gumbel(hashes[i]);
      if ((double)a[i] + noise > best.score) best = (struct best){(double)a[i] + noise, first + i};
      if (is_drawn_twice && (double)z[i] + noise > unadjusted.score) unadjusted = (struct best){(double)z[i] + noise, first + i};
    }
  }

  draw->tokens[row] = best.token;
  if (draw->unadjusted_tokens) draw->unadjusted_tokens[row] = is_drawn_twice ? unadjusted.token : best.token;
  if (draw->num_candidates) draw->num_candidates[row] = is_greedy ? 1 : num_candidates;
  if (draw->logprobs) {
    double z = 0.0, unadjusted_z = 0.0;
    if (!is_greedy) {
      z = unadjusted_z = one_logit(&draw->logits, row, best.token) / divisor;
      if (is_adjusted) {
        const float y = one_logit(&draw->other, other_row, best.token);
        z = draw->adjustment == GIVEN ? y : (float)z + beta * ((float)z - y / other_divisor);
      }
      z -= log(sum.total) + sum.peak;
      if (is_same) unadjusted_sum = plain_sum;
      unadjusted_z = is_adjusted ? unadjusted_z - (log(unadjusted_sum.total) + unadjusted_sum.peak) : z;
    }
    draw->logprobs[row] = (float)z;
    if (draw->unadjusted_logprobs) draw->unadjusted_logprobs[row] = (float)unadjusted_z;
  }
  if (wants_plain) {
    if (shares_sum) plain_sum = sum;
    draw->plain_logprobs[row] = (float)(one_logit(&draw->plain, row, best.token) - (log(plain_sum.total) + plain_sum.peak));
  }
}

/* exp(a - peak) of a block in double, and their sum; filtered tokens have none. */
static inline double ISA(block_weights)(const float *a, float peak, double *weights) {
  float e[BLOCK];
  for (int i = 0; i < BLOCK; i++) e[i] = ISA(exp_of_nonpositive)(a[i] - peak);
  double sum = 0.0;
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < BLOCK; i++) {
    weights[i] = a[i] > -INFINITY ? (double)e[i] : 0.0;
    sum += weights[i];
  }
  return sum;
}

/* Draws a row by inverting its distribution function. Three looks at the logits: for the peak, for the sum of each block, and at the one
 * block that `uniform` falls into. */
static void ISA(invert_row)(const struct draw *draw, int64_t row) {
  const int64_t vocabulary = draw->vocabulary, num_blocks = (vocabulary + BLOCK - 1) / BLOCK;
  const int wants_plain = draw->plain_logprobs != NULL;
  const int is_adjusted = draw->adjustment != NOT_ADJUSTED && draw->adjustment_row[row] >= 0;
  const int sums_unadjusted = draw->unadjusted_logprobs && is_adjusted;
  float z[BLOCK], other[BLOCK], adjusted[BLOCK];
  struct log_sum plain_sum = {-INFINITY, 0.0}, unadjusted_sum = {-INFINITY, 0.0};
  float peak = -INFINITY;
  int64_t num_candidates = 0;
  for (int64_t b = 0; b < num_blocks; b++) {
    ISA(read_block)(&draw->logits, row, b * BLOCK, vocabulary, z);
    const float *a = ISA(adjust_block)(draw, row, b * BLOCK, z, other, adjusted);
    const float block_peak = ISA(largest)(a);
    peak = block_peak > peak ? block_peak : peak;
    if (sums_unadjusted) ISA(add_exponentials)(&unadjusted_sum, z, ISA(largest)(z));
    int block = 0;
#pragma omp simd reduction(+ : block)
    for (int i = 0; i < BLOCK; i++) block += a[i] > -INFINITY;
    num_candidates += block;
    if (wants_plain) {
      ISA(read_block)(&draw->plain, row, b * BLOCK, vocabulary, other);
      ISA(add_exponentials)(&plain_sum, other, ISA(largest)(other));
    }
  }

  double weights[BLOCK], total = 0.0;
  double *sums = malloc((size_t)num_blocks * sizeof(double));
  for (int64_t b = 0; b < num_blocks; b++) {
    ISA(read_block)(&draw->logits, row, b * BLOCK, vocabulary, z);
    sums[b] = ISA(block_weights)(ISA(adjust_block)(draw, row, b * BLOCK, z, other, adjusted), peak, weights);
    total += sums[b];
  }
  const double target = draw->uniform[row] * total;
  double low = 0.0;
  int64_t found = 0;
  /* The first block that ends beyond the target. Rounding may put the target at the very end: then the last one that holds a token. */
  for (int64_t b = 0; b < num_blocks; b++) {
    if (!(sums[b] > 0.0)) continue;
    found = b;
    if (low + sums[b] > target) break;
    if (b + 1 < num_blocks) low += sums[b];
  }
  free(sums);
  ISA(read_block)(&draw->logits, row, found * BLOCK, vocabulary, z);
  const float *a = ISA(adjust_block)(draw, row, found * BLOCK, z, other, adjusted);
  ISA(block_weights)(a, peak, weights);
  int chosen = 0;
  double start = low;
  for (int i = 0; i < BLOCK; i++) {
    if (!(weights[i] > 0.0)) continue;
    chosen = i;
    start = low;
    low += weights[i];
    if (low > target) break;
  }
  const int64_t token = found * BLOCK + chosen;
  double remainder = (target - start + draw->fill[row] * SPACING * total) / weights[chosen];
  remainder = remainder > 0.0 ? remainder : 0.0;
  draw->remainder[row] = remainder < 1.0 ? remainder : 1.0 - SPACING;
  draw->tokens[row] = token;
  if (draw->unadjusted_tokens) draw->unadjusted_tokens[row] = token;
  if (draw->num_candidates) draw->num_candidates[row] = num_candidates;
  if (draw->logprobs) {
    const double logprob = a[chosen] - (log(total) + peak);
    draw->logprobs[row] = (float)logprob;
    if (draw->unadjusted_logprobs)
      draw->unadjusted_logprobs[row] = (float)(is_adjusted ? z[chosen] - (log(unadjusted_sum.total) + unadjusted_sum.peak) : logprob);
  }
  if (wants_plain) draw->plain_logprobs[row] = (float)(one_logit(&draw->plain, row, token) - (log(plain_sum.total) + plain_sum.peak));
}

static void ISA(draw_rows)(const struct draw *draw) {
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 1) num_threads(draw->num_threads)
#endif
  for (int64_t row = 0; row < draw->num_rows; row++) {
    const int is_greedy = draw->is_greedy && draw->is_greedy[row];
    if (draw->uniform && !is_greedy && draw->uniform[row] == draw->uniform[row]) {
      ISA(invert_row)(draw, row);
    } else {
      ISA(draw_row)(draw, row);
      if (draw->remainder) draw->remainder[row] = NAN;
    }
  }
}

#undef MULTIPLY_ADD
#undef ISA
