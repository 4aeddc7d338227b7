static void tml_max_pool(const int8_t *in, int8_t *out, int low, int high,
                   int in_h, int in_w, int in_c, int out_h, int out_w,
                   int kernel_h, int kernel_w, int stride_h, int stride_w,
                   int dilation_h, int dilation_w, int pad_top, int pad_left)
{
    int oy, ox, c, ky, kx;
    for (oy = 0; oy < out_h; oy++) {
        for (ox = 0; ox < out_w; ox++) {
            for (c = 0; c < in_c; c++) {
                int best = -128;
                for (ky = 0; ky < kernel_h; ky++) {
                    int iy = oy * stride_h + ky * dilation_h - pad_top;
                    for (kx = 0; kx < kernel_w; kx++) {
                        int ix = ox * stride_w + kx * dilation_w - pad_left;
                        if (iy >= 0 && iy < in_h && ix >= 0 && ix < in_w) {
                            int v = in[(iy * in_w + ix) * in_c + c];
                            best = v > best ? v : best;
                        }
                    }
                }
                *out++ = tml_saturate(best, low, high);
            }
        }
    }
}
