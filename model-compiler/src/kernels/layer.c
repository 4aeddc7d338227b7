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
#if TML_RECORDS
    const uint8_t *records;
    uint32_t scale;
#else
    const int32_t *bias;
    const int32_t *multipliers;
    const int8_t *shifts;
#endif
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

/* The constants of an output channel; `shift` is to the right, 1 to 22. */
typedef struct {
    int32_t bias, multiplier;
    int shift;
} tml_channel;

#if TML_RECORDS
/* A record is a little-endian number of `per_channel` bytes: 23 bits of a factor, 5 of the shift, the bias above. */
static void tml_constants(const tml_layer *of, int channel, tml_channel *to)
{
    int size = of->per_channel;
    const uint8_t *record = of->records + channel * size;
    uint32_t low = 0, factor;
    int32_t high = 0;
#if defined(__ARM_FEATURE_UNALIGNED) && defined(__ARMEL__)
    memcpy(&low, record, 4);
    memcpy(&high, record + size - 4, 4);
#else
    int at;
    for (at = size - 1; at >= 0; at--) {
        low = low << 8 | TML_READU8(record + at);
        if (at == size - 4) {
            high = (int32_t)low;
        }
    }
#endif
    /* The bytes above the fourth hold the bias but for four bits; the highest has its sign. */
    to->bias = (high >> (64 - 8 * size)) * 16 + (int32_t)(low >> 28);
    to->shift = (int)(low >> 23 & 31u);
    factor = (low << 8) | 0x80000000u;
#if defined(__AVR_HAVE_MUL__)
    /* Both have their highest bit: as signed numbers they are 2^32 less. */
    factor = (uint32_t)tml_halves((int32_t)factor, (int32_t)of->scale, 0) + factor + of->scale;
#elif TML_HALVES
    {
        uint32_t low_high = (factor >> 16) * (of->scale & 0xffffu), high_low = (factor & 0xffffu) * (of->scale >> 16);
        uint32_t middle = ((factor & 0xffffu) * (of->scale & 0xffffu) >> 16) + (low_high & 0xffffu) + (high_low & 0xffffu);
        middle += 0x8000u;
        factor = (factor >> 16) * (of->scale >> 16) + (low_high >> 16) + (high_low >> 16) + (middle >> 16);
    }
#else
    factor = (uint32_t)(((uint64_t)factor * of->scale + 0x80000000u) >> 32);
#endif
    to->multiplier = (int32_t)(factor >> (factor >> 31));
}
#else
static inline void tml_constants(const tml_layer *of, int channel, tml_channel *to)
{
    int factor = of->per_channel ? channel : 0;
    to->bias = TML_READ32(of->bias + channel);
    to->multiplier = TML_READ32(of->multipliers + factor);
    to->shift = TML_READ8(of->shifts + factor);
}
#endif

/* What tml_finish adds before it shifts: half a step, and the zero point of the output. */
static inline int32_t tml_offset(int shift, const tml_layer *of)
{
#if defined(__AVR__)
    (void)shift;
    return of->out_zero;
#else
    return (2 * of->out_zero + 1) * ((int32_t)1 << (shift - 1));
#endif
}

/* Twice an accumulator to an int8 value; `shift` is 1 to 22, so that nothing overflows.
   `clamps` is 0 for a layer whose bounds are those of int8. */
#if defined(__AVR__)
static int8_t
#else
static inline int8_t
#endif
tml_finish(int32_t twice, int32_t multiplier, int32_t offset, int shift, const tml_layer *clamps)
{
    int32_t x;
#if TML_DSP
    __asm__("smmulr %0, %1, %2" : "=r"(x) : "r"(twice), "r"(multiplier));
#elif TML_HALVES
    x = tml_halves(twice, multiplier, 0);
#else
    x = (int32_t)(((int64_t)twice * multiplier + ((int64_t)1 << 31)) >> 32);
#endif
#if defined(__AVR__)
    /* Shifts by whole bytes are moves. */
    x += x >> 31;
    for (shift--; shift >= 8; shift -= 8) {
        x >>= 8;
    }
    x = (((x >> shift) + 1) >> 1) + offset;
#else
    x = (x + (x >> 31) + offset) >> shift;
#endif
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
