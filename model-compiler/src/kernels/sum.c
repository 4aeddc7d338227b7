/* One row of a sum or difference; a step of 0 repeats an operand. */
static void tml_sum(const int8_t *a, const int8_t *b, int8_t *out, int count, int a_step, int b_step, int flash,
                    int a_zero, int32_t a_multiplier, int a_shift, int a_sign,
                    int b_zero, int32_t b_multiplier, int b_shift, int b_sign,
                    int out_zero, int32_t sum_multiplier, int sum_shift, int low, int high)
{
    int i;
    for (i = 0; i < count; i++, a += a_step, b += b_step) {
        int32_t x = tml_scale((int32_t)(*a - a_zero) * ((int32_t)1 << 20), a_multiplier, a_shift);
        int32_t y = tml_scale((int32_t)(TML_OPERAND(b, flash) - b_zero) * ((int32_t)1 << 20), b_multiplier, b_shift);
        out[i] = tml_saturate(tml_scale(x * a_sign + y * b_sign, sum_multiplier, sum_shift) + out_zero, low, high);
    }
}
