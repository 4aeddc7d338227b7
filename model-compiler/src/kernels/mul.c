/* One row of a product; a step of 0 repeats an operand. */
static void tml_mul(const int8_t *a, const int8_t *b, int8_t *out, int count, int a_step, int b_step, int flash,
                    int a_zero, int b_zero, int out_zero, int32_t multiplier, int shift, int low, int high)
{
    int i;
    for (i = 0; i < count; i++, a += a_step, b += b_step) {
        int32_t x = (int32_t)(*a - a_zero) * (TML_OPERAND(b, flash) - b_zero);
        out[i] = tml_saturate(tml_scale(x, multiplier, shift) + out_zero, low, high);
    }
}
