/* Bounds, or only another type. */
TML_STRICT static void tml_real_bounds(const int8_t *in, float in_scale, int in_zero,
                                       int8_t *out, float inverse, int out_zero,
                                       int32_t count, float low, float high)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        float x = tml_real_load(in, i, in_scale, in_zero);
        x = x < low ? low : x;
        tml_real_store(out, i, inverse, out_zero, x > high ? high : x);
    }
}
