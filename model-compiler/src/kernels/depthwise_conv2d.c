static void tml_depthwise_conv2d(const int8_t *in, int8_t *out, const int8_t *weights, const int32_t *bias,
                                 const int32_t *multipliers, const int8_t *shifts, int per_channel,
                                 int in_zero, int out_zero, int low, int high,
                                 int in_h, int in_w, int in_c, int out_h, int out_w, int out_per_in,
                                 int kernel_h, int kernel_w, int stride_h, int stride_w,
                                 int dilation_h, int dilation_w, int pad_top, int pad_left)
{
    int oy, ox, ic, copy, ky, kx, above, before;
    int out_c = in_c * out_per_in;
    for (oy = 0; oy < out_h; oy++) {
        int top = oy * stride_h - pad_top;
        int below = tml_inside(top, in_h, kernel_h, dilation_h, &above);
        for (ox = 0; ox < out_w; ox++) {
            int left = ox * stride_w - pad_left;
            int behind = tml_inside(left, in_w, kernel_w, dilation_w, &before);
            int oc = 0;
            for (ic = 0; ic < in_c; ic++) {
                for (copy = 0; copy < out_per_in; copy++, oc++) {
                    int32_t sum = TML_READ32(bias + oc);
                    int channel = per_channel ? oc : 0;
                    for (ky = above; ky < below; ky++) {
                        const int8_t *w = weights + (ky * kernel_w + before) * out_c + oc;
                        int at = ((top + ky * dilation_h) * in_w + left + before * dilation_w) * in_c + ic;
                        for (kx = before; kx < behind; kx++, at += dilation_w * in_c, w += out_c) {
                            sum += (in[at] - in_zero) * TML_READ8(w);
                        }
                    }
                    sum = tml_scale(sum, TML_READ32(multipliers + channel), TML_READ8(shifts + channel));
                    *out++ = tml_saturate(sum + out_zero, low, high);
                }
            }
        }
    }
}
