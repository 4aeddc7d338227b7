/* One row of a, or a * b where a is below zero; a step of 0 repeats an operand. */
static void tml_prelu(const int8_t *a, const int8_t *b, int8_t *out, int count, int a_step, int b_step, int flash,
                      int a_zero, int b_zero, int out_zero, int32_t multiplier, int shift,
                      int32_t below_multiplier, int below_shift, int low, int high)
{
    int i;
    for (i = 0; i < count; i++, a += a_step, b += b_step) {
        int32_t x = *a - a_zero;
        if (x >= 0) {
            x = tml_scale(x, multiplier, shift);
        } else {
            x = tml_scale(x * (TML_OPERAND(b, flash) - b_zero), below_multiplier, below_shift);
        }
        out[i] = tml_saturate(x + out_zero, low, high);
    }
}
