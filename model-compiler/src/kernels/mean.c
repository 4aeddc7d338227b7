/* Sums over the middle axis of [outer, count, inner], scaled; a mean has 1 / count in its multiplier. */
static void tml_mean(const int8_t *in, int8_t *out, int outer, int count, int inner,
                     int in_zero, int out_zero, int32_t multiplier, int shift)
{
    int o, i, k;
    for (o = 0; o < outer; o++, in += count * inner) {
        for (i = 0; i < inner; i++) {
            int32_t sum = 0;
            for (k = 0; k < count; k++) {
                sum += in[k * inner + i] - in_zero;
            }
            *out++ = tml_saturate(tml_scale(sum, multiplier, shift) + out_zero, -128, 127);
        }
    }
}
