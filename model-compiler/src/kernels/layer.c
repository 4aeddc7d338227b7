#include <string.h>

/* DSP instructions of Cortex-M4 and M7 work on two pixels at once. */
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__) && defined(__thumb2__)
#define TML_DSP 1
#define TML_PIXELS 2
#else
#define TML_DSP 0
#define TML_PIXELS 1
#endif

/* What a packed convolution or dense layer needs to know. The zero point of the input is
   folded into the bias; padding is the zero point itself. */
typedef struct {
    const int8_t *weights;
    const int32_t *bias;
    const int32_t *multipliers;
    const int8_t *shifts;
    tml_size in_h, in_w, in_c, out_h, out_w, out_c, kernel_h, kernel_w;
    tml_size stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int8_t per_channel, in_zero, out_zero, low, high, clamps;
} tml_layer;

#if defined(__AVR__)
static const tml_layer *tml_load(const tml_layer *flash)
{
    static tml_layer layer;
    memcpy_P(&layer, flash, sizeof layer);
    return &layer;
}
#else
#define tml_load(flash) (flash)
#endif

/* What tml_finish adds before it shifts: half a step, and the zero point of the output. */
static inline int32_t tml_offset(int shift, const tml_layer *of)
{
    return (2 * of->out_zero + 1) * ((int32_t)1 << (shift - 1));
}

/* Twice an accumulator to an int8 value; `shift` is 1 to 22, so that nothing overflows.
   `clamps` is 0 for a layer whose bounds are those of int8. */
static inline int8_t tml_finish(int32_t twice, int32_t multiplier, int32_t offset, int shift, const tml_layer *clamps)
{
    int32_t x;
#if TML_DSP
    __asm__("smmulr %0, %1, %2" : "=r"(x) : "r"(twice), "r"(multiplier));
#else
    x = (int32_t)(((int64_t)twice * multiplier + ((int64_t)1 << 31)) >> 32);
#endif
    x = (x + (x >> 31) + offset) >> shift;
#if TML_DSP
    __asm__("ssat %0, #8, %1" : "=r"(x) : "r"(x));
#else
    x = x < -128 ? -128 : (x > 127 ? 127 : x);
#endif
    if (clamps) {
        x = x < clamps->low ? clamps->low : (x > clamps->high ? clamps->high : x);
    }
    return (int8_t)x;
}
