#if TML_DSP
/* One input vector by four channels of two pairs: biases to twice the sums, 16 products in 17 instructions. */
static inline void tml_dot_1x4(const int8_t *x, const int8_t *w, const int8_t *v, int quads, int32_t *sums)
{
    int32_t t0 = sums[0] * 256 + sums[1], s0 = sums[1], t1 = sums[2] * 256 + sums[3], s1 = sums[3];
#define TML_QUAD \
    "ldr r4, [%[x]], #4\n" \
    "ldmia %[w]!, {r6, r8}\n" \
    "sxtb16 r5, r4, ror #8\n" \
    "sxtb16 r4, r4\n" \
    "ldmia %[v]!, {r9, r10}\n" \
    "smlad %[t0], r6, r4, %[t0]\n" \
    "smlad %[t0], r8, r5, %[t0]\n" \
    "smlad %[t1], r9, r4, %[t1]\n" \
    "smlad %[t1], r10, r5, %[t1]\n" \
    "sxtb16 r6, r6\n" \
    "sxtb16 r8, r8\n" \
    "sxtb16 r9, r9\n" \
    "sxtb16 r10, r10\n" \
    "smlad %[s0], r6, r4, %[s0]\n" \
    "smlad %[s0], r8, r5, %[s0]\n" \
    "smlad %[s1], r9, r4, %[s1]\n" \
    "smlad %[s1], r10, r5, %[s1]\n"
    __asm__ volatile(
        TML_UNROLLED
        : [x] "+r"(x), [w] "+r"(w), [v] "+r"(v), [n] "+r"(quads), [t0] "+r"(t0), [t1] "+r"(t1), [s0] "+r"(s0),
          [s1] "+r"(s1)
        :
        : "r4", "r5", "r6", "r8", "r9", "r10", "cc", "memory");
#undef TML_QUAD
    sums[0] = (t0 - s0) >> 7;
    sums[1] = s0 * 2;
    sums[2] = (t1 - s1) >> 7;
    sums[3] = s1 * 2;
}
#endif

/* A dense layer with packed weights; it may read up to three bytes behind its input. */
static void tml_dense_packed(const int8_t *in, int8_t *out, int8_t *scratch, const tml_layer *of)
{
    int quads = (of->in_c + 3) / 4;
    int last = of->out_c - 1, o, k;
    const int8_t *w = of->weights;
    const tml_layer *clamps = of->clamps ? of : 0;
    int32_t sums[4];
    tml_channel channels[4];
    (void)scratch;
#if TML_DSP && !TML_SMALL
    if (!of->per_channel && !clamps) {
        int32_t multiplier = *of->multipliers;
        int shift = *of->shifts;
        int32_t offset = tml_offset(shift, of);
        for (o = 0; o + 3 <= last; o += 4, w += 16 * quads) {
            memcpy(sums, of->bias + o, sizeof sums);
            tml_dot_1x4(in, w, w + 8 * quads, quads, sums);
            out[o] = tml_finish(sums[0], multiplier, offset, shift, 0);
            out[o + 1] = tml_finish(sums[1], multiplier, offset, shift, 0);
            out[o + 2] = tml_finish(sums[2], multiplier, offset, shift, 0);
            out[o + 3] = tml_finish(sums[3], multiplier, offset, shift, 0);
        }
    } else {
        o = 0;
    }
#else
    o = 0;
#endif
    for (; o <= last; o += 4, w += 16 * quads) {
        for (k = 0; k < 4; k++) {
            tml_constants(of, o + k < last ? o + k : last, channels + k);
            sums[k] = channels[k].bias;
        }
#if TML_DSP
        tml_dot_1x4(in, w, o + 2 <= last ? w + 8 * quads : w, quads, sums);
#else
        tml_dot(in, w, quads, sums[0], sums[1], sums);
        if (o + 2 <= last) {
            tml_dot(in, w + 8 * quads, quads, sums[2], sums[3], sums + 2);
        }
#endif
        for (k = 0; k < 4 && o + k <= last; k++) {
            const tml_channel *channel = channels + k;
            out[o + k] = tml_finish(sums[k], channel->multiplier, tml_offset(channel->shift, of), channel->shift, clamps);
        }
    }
}
