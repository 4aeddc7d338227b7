/* Between the pixels of the input lie zeros: up_h and up_w steps from one to the next. */
static void tml_conv2d_transposed(const int8_t *in, int8_t *out, const int8_t *weights, const int32_t *bias,
                                  const int32_t *multipliers, const int8_t *shifts, int per_channel,
                                  int in_zero, int out_zero, int low, int high,
                                  int in_h, int in_w, int in_c, int out_h, int out_w, int out_c,
                                  int kernel_h, int kernel_w, int stride_h, int stride_w,
                                  int dilation_h, int dilation_w, int pad_top, int pad_left,
                                  int up_h, int up_w)
{
    int oy, ox, oc, ky, kx, ic;
    for (oy = 0; oy < out_h; oy++) {
        for (ox = 0; ox < out_w; ox++) {
            const int8_t *w = weights;
            for (oc = 0; oc < out_c; oc++) {
                int32_t sum = TML_READ32(bias + oc);
                int channel = per_channel ? oc : 0;
                for (ky = 0; ky < kernel_h; ky++) {
                    int iy = oy * stride_h + ky * dilation_h - pad_top;
                    for (kx = 0; kx < kernel_w; kx++) {
                        int ix = ox * stride_w + kx * dilation_w - pad_left;
                        if (iy >= 0 && ix >= 0 && iy % up_h == 0 && ix % up_w == 0
                            && iy / up_h < in_h && ix / up_w < in_w) {
                            const int8_t *x = in + (iy / up_h * in_w + ix / up_w) * in_c;
                            for (ic = 0; ic < in_c; ic++) {
                                sum += (x[ic] - in_zero) * TML_READ8(w + ic);
                            }
                        }
                        w += in_c;
                    }
                }
                sum = tml_scale(sum, TML_READ32(multipliers + channel), TML_READ8(shifts + channel));
                *out++ = tml_saturate(sum + out_zero, low, high);
            }
        }
    }
}
