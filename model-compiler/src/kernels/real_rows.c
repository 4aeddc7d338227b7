/* Functions of rows. kind 0: softmax, 1: softmax in which zeros take no part; by 2: the largest, 3: the sum of all
   magnitudes, 4: the root of the sum of all squares. */
TML_STRICT static void tml_real_rows(const int8_t *in, float in_scale, int in_zero,
                                     int8_t *out, float inverse, int out_zero,
                                     int32_t rows, int32_t depth, int kind)
{
    int32_t r, i;
    for (r = 0; r < rows; r++) {
        int32_t begin = r * depth;
        float largest = tml_real_load(in, begin, in_scale, in_zero);
        float sum = 0.0f;
        for (i = 1; i < depth; i++) {
            float x = tml_real_load(in, begin + i, in_scale, in_zero);
            largest = x > largest ? x : largest;
        }
        for (i = 0; i < depth; i++) {
            float x = tml_real_load(in, begin + i, in_scale, in_zero);
            if (kind == 0 || (kind == 1 && (x > 1e-7f || x < -1e-7f))) {
                sum += tml_real_exp(x - largest);
            } else if (kind == 3) {
                sum += x < 0.0f ? -x : x;
            } else if (kind == 4) {
                sum += x * x;
            }
        }
        sum = kind == 2 ? largest : (kind == 4 ? tml_sqrt(sum) : sum);
        /* Nothing is divided by zero. */
        sum = sum < 0.0f || sum > 0.0f ? sum : 1.0f;
        for (i = 0; i < depth; i++) {
            float x = tml_real_load(in, begin + i, in_scale, in_zero);
            if (kind == 0 || (kind == 1 && (x > 1e-7f || x < -1e-7f))) {
                x = tml_real_exp(x - largest);
            } else if (kind == 1) {
                x = x * tml_real_exp(-largest);
            }
            tml_real_store(out, begin + i, inverse, out_zero, x / sum);
        }
    }
}
