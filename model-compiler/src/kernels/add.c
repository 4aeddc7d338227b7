static void tml_add(const int8_t *a, const int8_t *b, int8_t *out, int32_t count,
                    int a_zero, int32_t a_multiplier, int a_shift,
                    int b_zero, int32_t b_multiplier, int b_shift,
                    int out_zero, int32_t sum_multiplier, int sum_shift, int low, int high)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        int32_t x = tml_scale((int32_t)(a[i] - a_zero) * ((int32_t)1 << 20), a_multiplier, a_shift);
        int32_t y = tml_scale((int32_t)(b[i] - b_zero) * ((int32_t)1 << 20), b_multiplier, b_shift);
        out[i] = tml_saturate(tml_scale(x + y, sum_multiplier, sum_shift) + out_zero, low, high);
    }
}
