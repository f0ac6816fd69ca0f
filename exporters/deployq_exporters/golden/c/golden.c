/* Recomputes every layer of golden.h from its packed weights and compares sums and codes.

   Integers only; where the contract computes in binary floats, their steps are integers here.
   Data vectors run through the network from its given codes; designed vectors run through one
   layer. Exit status: 0 all equal, 1 with the first difference. C99, no dependency but libc. */

#include <inttypes.h>
#include <stdio.h>

#include "golden.h"

static int32_t weights[DQ_WEIGHTS];
static uint64_t compared_codes, compared_sums;

/* ---- stored integers ---- */

static int64_t to_signed(uint64_t bits)
{
    return bits <= INT64_MAX ? (int64_t)bits : -(int64_t)~bits - 1;
}

static int64_t bit_field(const uint8_t *bytes, size_t index, unsigned width, int is_signed)
{
    size_t per_byte = 8 / width, place = index % per_byte;
    unsigned code;
    if (!DQ_LOW_FIRST)
        place = per_byte - 1 - place;
    code = ((unsigned)bytes[index / per_byte] >> (place * width)) & ((1u << width) - 1);
    return is_signed && code >> (width - 1) ? (int64_t)code - (1 << width) : (int64_t)code;
}

static int64_t code_at(const dq_codes *codes, size_t index)
{
    switch (codes->bits) {
    case 16:
        return codes->is_signed ? ((const int16_t *)codes->data)[index]
                                : ((const uint16_t *)codes->data)[index];
    case 32:
        return ((const int32_t *)codes->data)[index];
    case 64:
        return ((const int64_t *)codes->data)[index];
    default:
        return bit_field(codes->data, index, (unsigned)codes->bits, codes->is_signed);
    }
}

static int32_t weight_in_planes(const dq_weight *weight, size_t index)
{
    size_t bytes = weight->codes.count / (size_t)weight->planes;
    int32_t code = 0;
    int plane;
    for (plane = 0; plane < weight->planes; plane++) {
        const uint8_t *bits = (const uint8_t *)weight->codes.data + (size_t)plane * bytes;
        code |= (int32_t)bit_field(bits, index, 1, 0) << plane;
    }
    return weight->is_signed && code >> (weight->planes - 1) ? code - (1 << weight->planes) : code;
}

/* Unpacks the weights into outputs, channels, cells, zero points taken off. */
static void load_weights(const dq_layer *layer)
{
    const dq_weight *weight = &layer->weight;
    size_t output, channel, cell, to = 0;
    for (output = 0; output < weight->outputs; output++)
        for (channel = 0; channel < weight->channels; channel++)
            for (cell = 0; cell < weight->cells; cell++) {
                int32_t zero = layer->weight_zeros[layer->weight_zero_count > 1 ? output : 0];
                size_t dense = output * weight->output_stride + channel * weight->channel_stride;
                size_t plane = output * weight->plane_output_stride
                               + cell * weight->plane_cell_stride + channel;
                int32_t code = weight->planes ? weight_in_planes(weight, plane)
                                              : (int32_t)code_at(&weight->codes, dense + cell);
                weights[to++] = code - zero;
            }
}

static size_t size_of(const dq_tensor *tensor)
{
    size_t size = 1;
    int axis;
    for (axis = 0; axis < tensor->rank; axis++)
        size *= (size_t)tensor->dims[axis];
    return size;
}

/* ---- shifts and roundings, without undefined behaviour ---- */

static int64_t product(int64_t a, int64_t b)
{
    return to_signed((uint64_t)a * (uint64_t)b);
}

static int64_t sum(int64_t a, int64_t b)
{
    return to_signed((uint64_t)a + (uint64_t)b);
}

static int64_t shift_left(int64_t value, int bits)
{
    return bits > 63 ? 0 : to_signed((uint64_t)value << bits);
}

/* Whether floor + rest / (2 half) rounds to floor + 1. */
static int rounds_up(int64_t floor, uint64_t rest, uint64_t half, dq_rounding rounding)
{
    switch (rounding) {
    case DQ_FLOOR:
        return 0;
    case DQ_TRUNC:
        return rest && floor < 0;
    case DQ_HALF_EVEN:
        return rest > half || (rest == half && floor % 2);
    case DQ_HALF_AWAY:
        return rest > half || (rest == half && floor >= 0);
    case DQ_HALF_DOWN:
        return rest > half;
    case DQ_HALF_ZERO:
        return rest > half || (rest == half && floor < 0);
    default:
        return rest >= half;
    }
}

static int64_t floor_shift(int64_t value, int bits)
{
    return value >= 0 ? value >> bits : ~(~value >> bits);
}

static int64_t shift_right(int64_t value, int bits, dq_rounding rounding)
{
    int64_t floor;
    uint64_t rest;
    if (bits <= 0)
        return shift_left(value, -bits);
    if (bits > 63)
        bits = 63;
    floor = floor_shift(value, bits);
    rest = (uint64_t)value - ((uint64_t)floor << bits);
    return floor + rounds_up(floor, rest, (uint64_t)1 << (bits - 1), rounding);
}

/* (value * mantissa + addend) / 2^bits; the dividend is high * 2^32 + low. */
static int64_t scale_once(int64_t value, int64_t mantissa, int64_t addend, int bits,
                          dq_rounding rounding)
{
    uint64_t lower = (uint64_t)value & UINT32_MAX, factor = (uint64_t)mantissa;
    uint64_t last = (lower & 0xffff) * factor, middle = (lower >> 16) * factor + (last >> 16);
    uint64_t low = ((middle & 0xffff) << 16 | (last & 0xffff)) + ((uint64_t)addend & UINT32_MAX);
    int64_t high = sum(product(floor_shift(value, 32), mantissa), (int64_t)(middle >> 16)), floor;
    uint64_t rest;
    high = sum(high, floor_shift(addend, 32) + (int64_t)(low >> 32));
    low &= UINT32_MAX;
    if (high >= INT32_MIN && high <= INT32_MAX)
        return shift_right(sum(product(value, mantissa), addend), bits, rounding);
    if (bits > 62)
        bits = 62;
    if (bits < 32) {
        int64_t beyond = bits > 0 ? floor_shift(high, 28 + bits) : high;
        if (beyond != 0 && beyond != -1)
            return high < 0 ? -((int64_t)1 << 60) : (int64_t)1 << 60; /* saturates every code */
        floor = sum(shift_left(high, 32 - bits), (int64_t)(low >> bits));
        rest = low & (((uint64_t)1 << bits) - 1);
    } else {
        floor = floor_shift(high, bits - 32);
        rest = (((uint64_t)high & (((uint64_t)1 << (bits - 32)) - 1)) << 32) | low;
    }
    return floor + rounds_up(floor, rest, (uint64_t)1 << (bits - 1), rounding);
}

/* gemmlowp's high multiply and division by a power of two; both steps half up where stated. */
static int64_t scale_twice(int64_t value, int64_t mantissa, int shift, dq_rounding rounding)
{
    int exponent = 31 - shift, right = exponent < 0 ? -exponent : 0;
    int64_t wide = product(shift_left(value, exponent > 0 ? exponent : 0), mantissa);
    int64_t nudge = (int64_t)1 << 30;
    int64_t high = shift_right(sum(wide, wide >= 0 ? nudge : 1 - nudge), 31, DQ_TRUNC);
    uint64_t mask;
    if (right > 62)
        right = 62;
    if (rounding == DQ_DOUBLE_HALF_UP)
        return shift_right(high, right, DQ_HALF_UP);
    mask = ((uint64_t)1 << right) - 1;
    return shift_right(high, right, DQ_FLOOR)
           + (((uint64_t)high & mask) > (mask >> 1) + (high < 0));
}

static int64_t scale_integer(const dq_scaling *scaling, int64_t value, size_t i)
{
    int64_t mantissa = scaling->mantissa[i], kept;
    int shift = scaling->shift[i];
    switch (scaling->rounding) {
    case DQ_QUOTIENT: /* mantissa: the divisor; half away from zero */
        kept = value < 0 ? -value : value;
        kept = (kept + mantissa / 2) / mantissa;
        return value < 0 ? -kept : kept;
    case DQ_DOUBLE:
    case DQ_DOUBLE_HALF_UP:
        return scale_twice(value, mantissa, shift, scaling->rounding);
    case DQ_NATURAL_PLUS_ONE:
        return scale_once(value, mantissa + 1, 0, shift, DQ_HALF_UP);
    default:
        if (scaling->post_shift < 0)
            return scale_once(value, mantissa, scaling->late.count ? code_at(&scaling->late, i) : 0,
                              shift, scaling->rounding);
        kept = shift_right(value, shift - scaling->post_shift, DQ_FLOOR);
        return shift_right(product(kept, mantissa), scaling->post_shift, scaling->rounding);
    }
}

/* ---- IEEE 754 arithmetic in integers: normal numbers, nearest, ties to even ---- */

typedef struct { /* (-1)^negative * mantissa * 2^exponent; the mantissa's top bit is set, or 0 */
    int negative;
    int exponent;
    uint64_t mantissa;
} number;

/* (high * 2^64 + low) * 2^exponent, rounded to `bits` bits; 64 are for exact values. */
static number rounded(int negative, int exponent, uint64_t high, uint64_t low, int bits)
{
    number result = {0, 0, 0};
    uint64_t last, rest;
    if (!high && !low)
        return result;
    while (!(high >> 63)) {
        high = high << 1 | low >> 63;
        low <<= 1;
        exponent--;
    }
    if (bits < 64) {
        last = (uint64_t)1 << (64 - bits);
        rest = high & (last - 1);
        high -= rest;
        if (rest > last / 2 || (rest == last / 2 && (low || high & last))) {
            high += last;
            if (!high) {
                high = (uint64_t)1 << 63;
                exponent++;
            }
        }
    }
    result.negative = negative;
    result.exponent = exponent + 64;
    result.mantissa = high;
    return result;
}

static number from_integer(int64_t value, int shift, int bits)
{
    uint64_t size = value < 0 ? ~(uint64_t)value + 1 : (uint64_t)value;
    return rounded(value < 0, -64 - shift, size, 0, bits);
}

static number number_of(const dq_number *stored)
{
    return from_integer(stored->mantissa, stored->shift, 64);
}

static number multiplied(number a, number b, int bits)
{
    uint64_t a1 = a.mantissa >> 32, a0 = a.mantissa & UINT32_MAX;
    uint64_t b1 = b.mantissa >> 32, b0 = b.mantissa & UINT32_MAX;
    uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (middle & UINT32_MAX);
    uint64_t high = a1 * b1 + (middle >> 32) + (other >> 32);
    return rounded(a.negative != b.negative, a.exponent + b.exponent, high,
                   a.mantissa * b.mantissa, bits);
}

static number added(number a, number b, int bits)
{
    uint64_t a_high, a_low, b_high, b_low, sticky = 0, high, low;
    int distance;
    if (!a.mantissa || !b.mantissa)
        return a.mantissa ? rounded(a.negative, a.exponent - 64, a.mantissa, 0, bits)
                          : rounded(b.negative, b.exponent - 64, b.mantissa, 0, bits);
    if (a.exponent < b.exponent || (a.exponent == b.exponent && a.mantissa < b.mantissa)) {
        number other = a;
        a = b;
        b = other;
    }
    a_high = a.mantissa >> 1; /* one bit of room for the carry */
    a_low = a.mantissa << 63;
    distance = a.exponent - b.exponent + 1;
    if (distance < 64) {
        b_high = b.mantissa >> distance;
        b_low = b.mantissa << (64 - distance);
    } else {
        distance -= 64;
        b_high = 0;
        b_low = distance < 64 ? b.mantissa >> distance : 0;
        sticky = distance < 64 ? (b_low << distance) != b.mantissa : 1;
    }
    b_low |= sticky;
    if (a.negative == b.negative) {
        low = a_low + b_low;
        high = a_high + b_high + (low < a_low);
    } else {
        low = a_low - b_low;
        high = a_high - b_high - (a_low < b_low);
    }
    return rounded(a.negative, a.exponent - 63, high, low, bits);
}

static number divided(number a, number b, int bits)
{
    uint64_t rest = a.mantissa, quotient = 0;
    int step, carry = 0;
    if (!a.mantissa)
        return a;
    for (step = 0; step < 64; step++) {
        quotient <<= 1;
        if (carry || rest >= b.mantissa) {
            rest -= b.mantissa;
            quotient |= 1;
        }
        carry = (int)(rest >> 63);
        rest <<= 1;
    }
    return rounded(a.negative != b.negative, a.exponent - b.exponent - 127, quotient,
                   carry || rest, bits);
}

static int64_t nearest(number a)
{
    int shift = -a.exponent;
    uint64_t whole, rest, half;
    if (!a.mantissa || shift > 64)
        return 0;
    if (shift < 24) /* beyond 2^40 every code saturates */
        return a.negative ? -((int64_t)1 << 40) : (int64_t)1 << 40;
    whole = shift == 64 ? 0 : a.mantissa >> shift;
    rest = shift == 64 ? a.mantissa : a.mantissa & (((uint64_t)1 << shift) - 1);
    half = (uint64_t)1 << (shift - 1);
    whole += rest > half || (rest == half && whole & 1);
    return a.negative ? -(int64_t)whole : (int64_t)whole;
}

static int64_t scale_float(const dq_scaling *scaling, int64_t value, size_t i)
{
    int bits = scaling->precision;
    number factor = from_integer(scaling->mantissa[i], scaling->shift[i], 64);
    number result = multiplied(from_integer(value, 0, bits), factor, bits);
    if (scaling->divisor)
        result = divided(result, number_of(&scaling->divisor[i]), bits);
    if (scaling->inner)
        result = added(result, number_of(&scaling->inner[i]), bits);
    return nearest(result);
}

static int64_t reached(const dq_scaling *scaling, int64_t value, size_t i)
{
    size_t k, each = scaling->threshold_count;
    int64_t count = 0;
    for (k = 0; k < each; k++)
        count += value >= code_at(&scaling->thresholds, i * each + k);
    return count;
}

static int64_t scaled(const dq_scaling *scaling, int64_t value, size_t channel)
{
    size_t i = scaling->count > 1 ? channel : 0;
    if (scaling->before)
        value = scaled(scaling->before, value, channel);
    if (scaling->threshold_count)
        return reached(scaling, value, i) + scaling->offset;
    if (scaling->folded)
        value = sum(value, scaling->folded[i]);
    value = scaling->precision ? scale_float(scaling, value, i) : scale_integer(scaling, value, i);
    return sum(value, scaling->offset);
}

/* ---- comparison ---- */

static int differs(const dq_case *run, const char *what, size_t index, int64_t expected,
                   int64_t found)
{
    printf("layer \"%s\" (%s vectors): %s[%zu] expected %" PRId64 ", found %" PRId64 "\n",
           run->layer->name, run->vectors, what, index, expected, found);
    return 0;
}

static int put(const dq_case *run, size_t index, int64_t code)
{
    const dq_layer *layer = run->layer;
    int64_t expected = code_at(&run->output->codes, index);
    if (code < layer->low)
        code = layer->low;
    if (code > layer->high)
        code = layer->high;
    run->output->memory[index] = (int32_t)code;
    compared_codes++;
    return code == expected || differs(run, "output", index, expected, code);
}

/* The sum as the accumulator holds it. */
static int64_t held(uint64_t total)
{
    int64_t value = to_signed(total);
#if DQ_ACCUMULATOR_BITS < 64
    const int64_t high = ((int64_t)1 << (DQ_ACCUMULATOR_BITS - 1)) - 1, low = -high - 1;
    if (DQ_OVERFLOW == DQ_SATURATE)
        return value < low ? low : value > high ? high : value;
    if (DQ_OVERFLOW == DQ_WRAP) {
        uint64_t bits = total & (((uint64_t)1 << DQ_ACCUMULATOR_BITS) - 1);
        return bits <= (uint64_t)high ? (int64_t)bits : (int64_t)(bits - (uint64_t)high - 1) + low;
    }
#endif
    return value; /* the contract rejects what does not fit: the expected sums do */
}

static int put_sum(const dq_case *run, size_t index, size_t channel, uint64_t total)
{
    int64_t value = held(total);
    if (run->sums.count) {
        int64_t expected = code_at(&run->sums, index);
        compared_sums++;
        if (value != expected)
            return differs(run, "sum", index, expected, value);
    }
    return put(run, index, scaled(&run->layer->scalings[0], value, channel));
}

/* ---- operators ---- */

static size_t at4(const dq_tensor *t, int32_t n, int32_t c, int32_t y, int32_t x)
{
    return (((size_t)n * (size_t)t->dims[1] + (size_t)c) * (size_t)t->dims[2] + (size_t)y)
               * (size_t)t->dims[3] + (size_t)x;
}

/* The input coordinate below one cell of a window: -1 where there is none. */
static int32_t below(const dq_layer *layer, int axis, int32_t place, int32_t cell, int32_t length)
{
    int32_t at = place * layer->strides[axis] - layer->pads[axis] + cell * layer->dilations[axis];
    return at < length ? at : -1;
}

/* The same for a transposed convolution, whose windows lie over the output. */
static int32_t behind(const dq_layer *layer, int axis, int32_t place, int32_t cell, int32_t length)
{
    int32_t at = place + layer->pads[axis] - cell * layer->dilations[axis];
    if (at < 0 || at % layer->strides[axis])
        return -1;
    at /= layer->strides[axis];
    return at < length ? at : -1;
}

static int convolve(const dq_case *run)
{
    const dq_layer *layer = run->layer;
    const dq_tensor *x = run->inputs[0], *y = run->output;
    int32_t (*cell_of)(const dq_layer *, int, int32_t, int32_t, int32_t)
        = layer->op == DQ_CONV ? below : behind;
    int32_t rows = layer->kernel[0], columns = layer->kernel[1];
    int32_t inputs = (int32_t)layer->weight.channels, outputs = y->dims[1] / layer->groups;
    int32_t n, o, row, column, c, i, j;
    size_t index = 0;
    load_weights(layer);
    for (n = 0; n < y->dims[0]; n++)
    for (o = 0; o < y->dims[1]; o++)
    for (row = 0; row < y->dims[2]; row++)
    for (column = 0; column < y->dims[3]; column++) {
        uint64_t total = layer->bias.count ? (uint64_t)code_at(&layer->bias, (size_t)o) : 0;
        const int32_t *weight = weights + (size_t)o * layer->weight.channels * layer->weight.cells;
        for (c = 0; c < inputs; c++)
        for (i = 0; i < rows; i++) {
            int32_t from = cell_of(layer, 0, row, i, x->dims[2]);
            for (j = 0; j < columns && from >= 0; j++) {
                int32_t at = cell_of(layer, 1, column, j, x->dims[3]);
                int64_t code;
                if (at < 0)
                    continue;
                code = x->memory[at4(x, n, o / outputs * inputs + c, from, at)] - layer->zeros[0];
                total += (uint64_t)product(code, weight[(c * rows + i) * columns + j]);
            }
        }
        if (!put_sum(run, index++, (size_t)o, total))
            return 0;
    }
    return 1;
}

static int multiply_constant(const dq_case *run)
{
    const dq_layer *layer = run->layer;
    const dq_tensor *x = run->inputs[0];
    size_t depth = layer->weight.channels, width = layer->weight.outputs;
    size_t rows = size_of(x) / depth, row, o, k;
    load_weights(layer);
    for (row = 0; row < rows; row++)
        for (o = 0; o < width; o++) {
            uint64_t total = layer->bias.count ? (uint64_t)code_at(&layer->bias, o) : 0;
            for (k = 0; k < depth; k++)
                total += (uint64_t)product(x->memory[row * depth + k] - layer->zeros[0],
                                           weights[o * depth + k]);
            if (!put_sum(run, row * width + o, o, total))
                return 0;
        }
    return 1;
}

/* Offset of a place of the output in an operand whose axes broadcast, the last `kept` left out. */
static size_t broadcast(const dq_tensor *operand, const dq_tensor *output, size_t index, int kept)
{
    size_t offset = 0, stride = 1;
    int back;
    for (back = 1; back <= output->rank; back++) {
        size_t length = (size_t)output->dims[output->rank - back], place = index % length;
        int32_t own = back <= operand->rank ? operand->dims[operand->rank - back] : 1;
        index /= length;
        if (back > kept && own > 1)
            offset += place * stride;
        stride *= (size_t)own;
    }
    return offset;
}

static int multiply_activations(const dq_case *run)
{
    const dq_layer *layer = run->layer;
    const dq_tensor *a = run->inputs[0], *b = run->inputs[1], *y = run->output;
    size_t depth = (size_t)a->dims[a->rank - 1], width = (size_t)y->dims[y->rank - 1];
    size_t height = (size_t)y->dims[y->rank - 2], count = size_of(y), index, k;
    for (index = 0; index < count; index++) {
        const int32_t *left = a->memory + broadcast(a, y, index, 2);
        const int32_t *right = b->memory + broadcast(b, y, index, 2) + index % width;
        uint64_t total = 0;
        left += index / width % height * depth;
        for (k = 0; k < depth; k++)
            total += (uint64_t)product(left[k] - layer->zeros[0],
                                       right[k * width] - layer->zeros[1]);
        if (!put_sum(run, index, 0, total))
            return 0;
    }
    return 1;
}

/* True when the left operand has one element for each innermost run of the right one. */
static int is_swapped(const dq_tensor *a, const dq_tensor *b)
{
    int back, rank = a->rank > b->rank ? a->rank : b->rank;
    for (back = 1; back <= rank; back++) {
        int32_t left = back <= a->rank ? a->dims[a->rank - back] : 1;
        int32_t right = back <= b->rank ? b->dims[b->rank - back] : 1;
        if (left != right)
            return left == 1;
        if (left > 1)
            return 0;
    }
    return 0;
}

/* Codes of a sum in binary floats. numbers: s_a, s_b and s_y with 53 bits of precision; with 24
   (ONNX Runtime, fused): s_a / s_y, s_b / s_y and the constant in both orders of the operands. */
static int64_t float_sum(const dq_layer *layer, int64_t a, int64_t b, int swapped)
{
    int bits = layer->precision;
    number left = from_integer(a, 0, 64), right = from_integer(b, 0, 64);
    number first = number_of(&layer->numbers[0]), second = number_of(&layer->numbers[1]);
    if (bits == 53)
        return nearest(divided(added(multiplied(left, first, 53), multiplied(right, second, 53), 53),
                               number_of(&layer->numbers[2]), 53));
    if (swapped) {
        number other = left, factor = first;
        left = right;
        right = other;
        first = second;
        second = factor;
    }
    right = added(multiplied(right, second, 64), number_of(&layer->numbers[swapped ? 3 : 2]), 24);
    return nearest(added(multiplied(left, first, 64), right, 24));
}

static int combine(const dq_case *run)
{
    const dq_layer *layer = run->layer;
    const dq_tensor *a = run->inputs[0], *b = run->inputs[1], *y = run->output;
    int swapped = is_swapped(a, b);
    size_t index, count = size_of(y);
    for (index = 0; index < count; index++) {
        int64_t left = a->memory[broadcast(a, y, index, 0)] - layer->zeros[0];
        int64_t right = b->memory[broadcast(b, y, index, 0)] - layer->zeros[1];
        int64_t code;
        if (layer->op == DQ_MUL)
            code = scaled(&layer->scalings[0], product(left, right), 0);
        else if (layer->op == DQ_ADD_FLOAT)
            code = float_sum(layer, left, right, swapped) + layer->offset;
        else {
            left = scaled(&layer->scalings[1], shift_left(left, layer->left_shift), 0);
            right = scaled(&layer->scalings[2], shift_left(right, layer->left_shift), 0);
            code = scaled(&layer->scalings[0], sum(left, right), 0);
        }
        if (!put(run, index, code))
            return 0;
    }
    return 1;
}

/* The mean of a window in binary32, as ONNX Runtime: numbers are s_x, s_y and the zero point. */
static int64_t float_mean(const dq_layer *layer, number total, int32_t count)
{
    number mean = divided(divided(total, from_integer(count, 0, 64), 24),
                          number_of(&layer->numbers[1]), 24);
    return nearest(added(mean, number_of(&layer->numbers[2]), 24)) + layer->offset;
}

static size_t count_index(const dq_layer *layer, int32_t count)
{
    size_t i;
    for (i = 0; i < layer->count_count; i++)
        if (layer->counts[i] == count)
            return i;
    return 0;
}

static int pool(const dq_case *run)
{
    const dq_layer *layer = run->layer;
    const dq_tensor *x = run->inputs[0], *y = run->output;
    int32_t rows = layer->kernel[0] ? layer->kernel[0] : x->dims[2];
    int32_t columns = layer->kernel[0] ? layer->kernel[1] : x->dims[3];
    int32_t n, c, row, column, i, j;
    size_t index = 0;
    for (n = 0; n < y->dims[0]; n++)
    for (c = 0; c < y->dims[1]; c++)
    for (row = 0; row < y->dims[2]; row++)
    for (column = 0; column < y->dims[3]; column++) {
        int32_t cells = 0, count;
        int64_t total = 0, highest = INT32_MIN;
        number real = {0, 0, 0};
        for (i = 0; i < rows; i++)
        for (j = 0; j < columns; j++) {
            int32_t from = below(layer, 0, row, i, x->dims[2]);
            int32_t at = below(layer, 1, column, j, x->dims[3]);
            int64_t code;
            if (from < 0 || at < 0)
                continue;
            code = x->memory[at4(x, n, c, from, at)];
            highest = code > highest ? code : highest;
            total += code - layer->zeros[0];
            if (layer->op == DQ_MEAN_POOL_FLOAT)
                real = added(real, multiplied(from_integer(code - layer->zeros[0], 0, 64),
                                              number_of(&layer->numbers[0]), 24), 24);
            cells++;
        }
        count = layer->counts_pads ? rows * columns : cells;
        if (layer->op == DQ_MAX_POOL)
            total = highest;
        else if (layer->op == DQ_MEAN_POOL_FLOAT)
            total = float_mean(layer, real, count);
        else {
            total += layer->keeps_zero ? count * layer->zeros[0] : 0;
            total = scaled(&layer->scalings[0], total, count_index(layer, count));
        }
        if (!put(run, index++, total))
            return 0;
    }
    return 1;
}

static int concatenate(const dq_case *run)
{
    const dq_layer *layer = run->layer;
    size_t outer = 1, inner = 1, part, before, i, to = 0;
    int axis;
    for (axis = 0; axis < layer->axis; axis++)
        outer *= (size_t)run->output->dims[axis];
    for (axis = layer->axis + 1; axis < run->output->rank; axis++)
        inner *= (size_t)run->output->dims[axis];
    for (before = 0; before < outer; before++)
        for (part = 0; part < run->input_count; part++) {
            const dq_tensor *x = run->inputs[part];
            size_t length = (size_t)x->dims[layer->axis] * inner;
            for (i = 0; i < length; i++, to++) {
                int64_t code = x->memory[before * length + i] - layer->zeros[part];
                if (!put(run, to, scaled(&layer->scalings[part], code, 0)))
                    return 0;
            }
        }
    return 1;
}

/* numbers: the exponentials by distance from the largest code; then, with 24 bits of precision,
   floor(1 / s_y) and with 53, s_y. */
static int softmax(const dq_case *run)
{
    const dq_layer *layer = run->layer;
    const dq_tensor *x = run->inputs[0];
    size_t length = (size_t)x->dims[x->rank - 1], rows = size_of(x) / length, row, i;
    number last = number_of(&layer->numbers[layer->number_count - 1]);
    for (row = 0; row < rows; row++) {
        const int32_t *codes = x->memory + row * length;
        int32_t highest = codes[0];
        number total = {0, 0, 0};
        for (i = 1; i < length; i++)
            highest = codes[i] > highest ? codes[i] : highest;
        for (i = 0; i < length; i++)
            total = added(total, number_of(&layer->numbers[highest - codes[i]]), layer->precision);
        for (i = 0; i < length; i++) {
            number share = number_of(&layer->numbers[highest - codes[i]]);
            if (layer->precision == 53) {
                share = divided(share, total, 53);
                share = rounded(0, share.exponent - 64, share.mantissa, 0, 24);
                share = divided(share, last, 24);
            } else
                share = divided(multiplied(share, last, 24), total, 24);
            if (!put(run, row * length + i, nearest(share) + layer->offset))
                return 0;
        }
    }
    return 1;
}

static int look_up(const dq_case *run)
{
    const dq_layer *layer = run->layer;
    const dq_tensor *x = run->inputs[0];
    size_t i, count = size_of(x);
    for (i = 0; i < count; i++)
        if (!put(run, i, code_at(&layer->table, (size_t)(x->memory[i] - layer->fill))))
            return 0;
    return 1;
}

static int move(const dq_case *run)
{
    const dq_layer *layer = run->layer;
    const dq_tensor *x = run->inputs[0], *y = run->output;
    size_t index, count = size_of(y);
    for (index = 0; index < count; index++) {
        size_t left = index, offset = 0;
        int axis, other, is_fill = 0;
        for (axis = y->rank - 1; axis >= 0 && layer->op == DQ_MOVE; axis--) {
            const dq_move *from = &layer->moves[axis];
            int32_t cell = from->cells[left % (size_t)y->dims[axis]];
            size_t stride = 1;
            left /= (size_t)y->dims[axis];
            for (other = from->axis + 1; other < x->rank; other++)
                stride *= (size_t)x->dims[other];
            is_fill |= cell < 0;
            offset += (size_t)(cell < 0 ? 0 : cell) * stride;
        }
        if (layer->op == DQ_COPY)
            offset = index;
        if (!put(run, index, is_fill ? layer->fill : x->memory[offset]))
            return 0;
    }
    return 1;
}

/* From stored sums on: what the last step makes of them, one column a channel. */
static int scale_sums(const dq_case *run)
{
    size_t index, channels = (size_t)run->output->dims[run->output->rank - 1];
    for (index = 0; index < run->sums.count; index++) {
        int64_t value = code_at(&run->sums, index);
        if (!put(run, index, scaled(&run->layer->scalings[0], value, index % channels)))
            return 0;
    }
    return 1;
}

static int compute(const dq_case *run)
{
    size_t part, i;
    for (part = 0; part < run->input_count; part++)
        if (run->inputs[part]->is_given)
            for (i = 0; i < run->inputs[part]->codes.count; i++)
                run->inputs[part]->memory[i] = (int32_t)code_at(&run->inputs[part]->codes, i);
    if (!run->input_count)
        return scale_sums(run);
    switch (run->layer->op) {
    case DQ_CONV:
    case DQ_CONV_TRANSPOSE:
        return convolve(run);
    case DQ_GEMM:
        return multiply_constant(run);
    case DQ_MATMUL:
        return multiply_activations(run);
    case DQ_ADD:
    case DQ_ADD_FLOAT:
    case DQ_MUL:
        return combine(run);
    case DQ_MAX_POOL:
    case DQ_MEAN_POOL:
    case DQ_MEAN_POOL_FLOAT:
        return pool(run);
    case DQ_CONCAT:
        return concatenate(run);
    case DQ_SOFTMAX:
        return softmax(run);
    case DQ_LOOKUP:
        return look_up(run);
    case DQ_COPY:
    case DQ_MOVE:
        return move(run);
    }
    return differs(run, "operator", 0, 0, (int64_t)run->layer->op);
}

int main(void)
{
    size_t i, count = sizeof cases / sizeof cases[0];
    for (i = 0; i < count; i++)
        if (!compute(&cases[i]))
            return 1;
    printf("%zu runs, %" PRIu64 " codes and %" PRIu64 " sums equal\n", count, compared_codes,
           compared_sums);
    return 0;
}
