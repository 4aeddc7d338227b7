static void tml_rescale(const int8_t *in, int8_t *out, int32_t count, int in_zero, int out_zero,
                        int32_t multiplier, int shift, int low, int high)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        out[i] = tml_saturate(tml_scale(in[i] - in_zero, multiplier, shift) + out_zero, low, high);
    }
}
