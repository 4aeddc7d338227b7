static void tml_average_pool(const int8_t *in, int8_t *out, int low, int high,
                   int in_h, int in_w, int in_c, int out_h, int out_w,
                   int kernel_h, int kernel_w, int stride_h, int stride_w,
                   int dilation_h, int dilation_w, int pad_top, int pad_left)
{
    int oy, ox, c, ky, kx, above, before;
    for (oy = 0; oy < out_h; oy++) {
        int top = oy * stride_h - pad_top;
        int below = tml_inside(top, in_h, kernel_h, dilation_h, &above);
        for (ox = 0; ox < out_w; ox++) {
            int left = ox * stride_w - pad_left;
            int behind = tml_inside(left, in_w, kernel_w, dilation_w, &before);
            int32_t count = (int32_t)(below - above) * (behind - before);
            for (c = 0; c < in_c; c++) {
                int32_t sum = 0;
                for (ky = above; ky < below; ky++) {
                    int at = ((top + ky * dilation_h) * in_w + left + before * dilation_w) * in_c + c;
                    for (kx = before; kx < behind; kx++, at += dilation_w * in_c) {
                        sum += in[at];
                    }
                }
                sum = sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count;
                *out++ = tml_saturate(sum, low, high);
            }
        }
    }
}
