/* One operand of a concatenation: `inner` values of every `step` of the result. */
static void tml_concat(const int8_t *in, int8_t *out, int outer, int inner, int step,
                       int in_zero, int out_zero, int32_t multiplier, int shift)
{
    int o, i;
    for (o = 0; o < outer; o++, out += step) {
        for (i = 0; i < inner; i++) {
            out[i] = tml_saturate(tml_scale(*in - in_zero, multiplier, shift) + out_zero, -128, 127);
            in++;
        }
    }
}
