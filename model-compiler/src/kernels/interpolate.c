/* Rows and columns: lower neighbour, upper neighbour, share of the upper one in 1/1024. */
static void tml_interpolate(const int8_t *in, int8_t *out, const int16_t *rows, const int16_t *columns,
                            int out_h, int out_w, int32_t width, int channels)
{
    int y, x, c;
    for (y = 0; y < out_h; y++) {
        const int8_t *top = in + TML_READ16(rows + 3 * y) * width * channels;
        const int8_t *bottom = in + TML_READ16(rows + 3 * y + 1) * width * channels;
        int32_t down = TML_READ16(rows + 3 * y + 2);
        for (x = 0; x < out_w; x++) {
            int32_t left = (int32_t)TML_READ16(columns + 3 * x) * channels;
            int32_t right = (int32_t)TML_READ16(columns + 3 * x + 1) * channels;
            int32_t share = TML_READ16(columns + 3 * x + 2);
            for (c = 0; c < channels; c++) {
                int32_t a = top[left + c] * (1024 - share) + top[right + c] * share;
                int32_t b = bottom[left + c] * (1024 - share) + bottom[right + c] * share;
                int32_t sum = a * (1024 - down) + b * down;
                int32_t half = (int32_t)1 << 19;
                *out++ = (int8_t)((sum + (sum > 0 ? half : -half)) / ((int32_t)1 << 20));
            }
        }
    }
}
