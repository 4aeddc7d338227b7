/* One row of a function of two operands; a step of 0 repeats one. kind 0: sum, 1: difference, 2: difference the other
   way around, 3: product, 4: larger, 5: smaller, 6: product where the first is below zero. */
TML_STRICT static void tml_real_binary(const int8_t *a, int32_t a_at, float a_scale, int a_zero,
                                       const int8_t *b, const float *constant, int32_t b_at, float b_scale, int b_zero,
                                       int8_t *out, int32_t at, float inverse, int out_zero,
                                       int32_t count, int32_t a_step, int32_t b_step, int kind, float low, float high)
{
    int32_t i;
    for (i = 0; i < count; i++, a_at += a_step, b_at += b_step) {
        float x = tml_real_load(a, a_at, a_scale, a_zero);
        float y = constant ? TML_READ_FLOAT(constant + b_at) : tml_real_load(b, b_at, b_scale, b_zero);
        switch (kind) {
        case 0: x = x + y; break;
        case 1: x = x - y; break;
        case 2: x = y - x; break;
        case 3: x = x * y; break;
        case 4: x = y > x ? y : x; break;
        case 5: x = y < x ? y : x; break;
        default: x = x < 0.0f ? x * y : x; break;
        }
        x = x < low ? low : x;
        tml_real_store(out, at + i, inverse, out_zero, x > high ? high : x);
    }
}
