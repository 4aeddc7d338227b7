/* One row of maxima (sign 1) or minima (sign -1); a step of 0 repeats an operand. */
static void tml_extreme(const int8_t *a, const int8_t *b, int8_t *out, int count, int a_step, int b_step, int flash,
                        int sign, int a_zero, int32_t a_multiplier, int a_shift,
                        int b_zero, int32_t b_multiplier, int b_shift, int out_zero, int low, int high)
{
    int i;
    for (i = 0; i < count; i++, a += a_step, b += b_step) {
        int32_t x = tml_scale(*a - a_zero, a_multiplier, a_shift);
        int32_t y = tml_scale(TML_OPERAND(b, flash) - b_zero, b_multiplier, b_shift);
        out[i] = tml_saturate(((x > y) == (sign > 0) ? x : y) + out_zero, low, high);
    }
}
