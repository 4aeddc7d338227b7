/* Convolution in floats; `per_in` output channels read each input channel of a depthwise one, 0 stands for all.
   up_h and up_w steps lie between the pixels of a transposed one, else 1. */
TML_STRICT static void tml_real_linear(const int8_t *in, float in_scale, int in_zero,
                                       int8_t *out, float inverse, int out_zero,
                                       const float *weights, const float *bias, float low, float high, int per_in,
                                       int in_h, int in_w, int in_c, int out_h, int out_w, int out_c,
                                       int kernel_h, int kernel_w, int stride_h, int stride_w,
                                       int dilation_h, int dilation_w, int pad_top, int pad_left,
                                       int up_h, int up_w)
{
    int count = per_in > 0 ? 1 : in_c, step = per_in > 0 ? out_c : in_c;
    int oy, ox, oc, ky, kx, i;
    int32_t at = 0;
    for (oy = 0; oy < out_h; oy++) {
        for (ox = 0; ox < out_w; ox++) {
            for (oc = 0; oc < out_c; oc++) {
                const float *w = weights + (per_in > 0 ? oc : (int32_t)oc * kernel_h * kernel_w * in_c);
                int first = per_in > 0 ? oc / per_in : 0;
                float sum = TML_READ_FLOAT(bias + oc);
                for (ky = 0; ky < kernel_h; ky++) {
                    int iy = oy * stride_h + ky * dilation_h - pad_top;
                    int row = iy < 0 || iy % up_h != 0 || iy / up_h >= in_h ? -1 : iy / up_h;
                    for (kx = 0; kx < kernel_w; kx++, w += step) {
                        int ix = ox * stride_w + kx * dilation_w - pad_left;
                        int32_t pixel;
                        if (row < 0 || ix < 0 || ix % up_w != 0 || ix / up_w >= in_w) {
                            continue;
                        }
                        pixel = ((int32_t)row * in_w + ix / up_w) * in_c + first;
                        for (i = 0; i < count; i++) {
                            sum += tml_real_load(in, pixel + i, in_scale, in_zero) * TML_READ_FLOAT(w + i);
                        }
                    }
                }
                sum = sum < low ? low : sum;
                tml_real_store(out, at, inverse, out_zero, sum > high ? high : sum);
                at++;
            }
        }
    }
}
