/* The types of the data below. Every number is an integer. */

#include <stddef.h>
#include <stdint.h>

/* Integers as they are stored: 1, 2, 4 or 8 bits in bytes, in the order of addresses, several in
   one byte, two's complement where signed; 16, 32 and 64 bits as integers of C. */
typedef struct {
    const void *data;
    size_t count;
    int bits;
    int is_signed;
} dq_codes;

/* A code tensor: what is expected of it (or given), and where the program computes it. */
typedef struct {
    int rank;
    int32_t dims[DQ_RANK];
    dq_codes codes;
    int32_t *memory;
    int is_given;
} dq_tensor;

/* Weights of (outputs, channels, cells). Dense: codes in the order that the strides state.
   In planes: one plane of single bits for each bit, lowest first; the strides of a plane are in
   bits, that of channels is 1. */
typedef struct {
    dq_codes codes;
    int planes;
    int is_signed;
    size_t outputs, channels, cells;
    size_t output_stride, channel_stride, plane_output_stride, plane_cell_stride;
} dq_weight;

typedef enum {
    DQ_HALF_EVEN, DQ_HALF_UP, DQ_HALF_AWAY, DQ_HALF_DOWN, DQ_HALF_ZERO, DQ_FLOOR, DQ_TRUNC,
    DQ_DOUBLE, DQ_DOUBLE_HALF_UP, DQ_NATURAL_PLUS_ONE, DQ_QUOTIENT
} dq_rounding;

/* The real number mantissa / 2^shift. */
typedef struct {
    int64_t mantissa;
    int16_t shift;
} dq_number;

/* From a sum to a code: code = clip(round((value + folded) * mantissa / 2^shift) + offset); a bias
   that is added after the multiplication, `late`, joins the product before the shift.
   With a precision of 24 or 53 bits every step is rounded as IEEE 754 binary floats are; the
   product may then be divided, and `inner` be added before it becomes an integer.
   With thresholds: code = clip(offset + how many of the channel's threshold_count are <= value). */
typedef struct dq_scaling {
    const struct dq_scaling *before; /* a step that the value takes first */
    int precision;
    dq_rounding rounding;
    int post_shift;
    size_t count;
    const int64_t *mantissa;
    const int16_t *shift;
    const int64_t *folded;
    dq_codes late;
    const dq_number *divisor;
    const dq_number *inner;
    int64_t offset;
    dq_codes thresholds;
    size_t threshold_count;
} dq_scaling;

/* Where along one axis of the input the cells of one axis of the output come from; -1: fill. */
typedef struct {
    int axis;
    const int32_t *cells;
} dq_move;

typedef enum {
    DQ_CONV, DQ_CONV_TRANSPOSE, DQ_GEMM, DQ_MATMUL, DQ_ADD, DQ_ADD_FLOAT, DQ_MUL, DQ_MAX_POOL,
    DQ_MEAN_POOL, DQ_MEAN_POOL_FLOAT, DQ_CONCAT, DQ_LOOKUP, DQ_SOFTMAX, DQ_COPY, DQ_MOVE
} dq_operator;

typedef struct {
    const char *name;
    dq_operator op;
    int64_t low, high, offset;
    const int64_t *zeros;
    const dq_scaling *scalings;
    dq_weight weight;
    const int32_t *weight_zeros;
    size_t weight_zero_count;
    dq_codes bias;
    int32_t kernel[2], strides[2], pads[2], dilations[2], groups;
    int counts_pads, keeps_zero;
    const int32_t *counts;
    size_t count_count;
    int axis, left_shift, precision;
    const dq_number *numbers;
    size_t number_count;
    dq_codes table;
    const dq_move *moves;
    int64_t fill;
} dq_layer;

/* A layer, what it reads, and what it is expected to give. A case without inputs starts from its
   sums. */
typedef struct {
    const dq_layer *layer;
    const char *vectors;
    const dq_tensor *const *inputs;
    size_t input_count;
    const dq_tensor *output;
    dq_codes sums;
} dq_case;
