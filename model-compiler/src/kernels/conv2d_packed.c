/* The bytes that a pixel sees, zero point where it sees padding. */
static void tml_window(const int8_t *in, int8_t *to, const tml_layer *of, int oy, int ox)
{
    int ky, kx;
    int depth = of->in_c;
    int left = ox * of->stride_w - of->pad_left;
    for (ky = 0; ky < of->kernel_h; ky++) {
        int y = oy * of->stride_h + ky * of->dilation_h - of->pad_top;
        int row_bytes = of->kernel_w * depth;
        if (y < 0 || y >= of->in_h) {
            memset(to, of->in_zero, (size_t)row_bytes);
            to += row_bytes;
        } else if (of->dilation_w == 1 && left >= 0 && left + of->kernel_w <= of->in_w) {
            memcpy(to, in + (y * of->in_w + left) * depth, (size_t)row_bytes);
            to += row_bytes;
        } else {
            for (kx = 0; kx < of->kernel_w; kx++, to += depth) {
                int x = left + kx * of->dilation_w;
                if (x < 0 || x >= of->in_w) {
                    memset(to, of->in_zero, (size_t)depth);
                } else {
                    memcpy(to, in + (y * of->in_w + x) * depth, (size_t)depth);
                }
            }
        }
    }
}

#if TML_DSP && !TML_SMALL
/* All channels, an even number, of two pixels. */
static inline __attribute__((always_inline)) void tml_two_pixels(const int32_t *wide, int quads, int8_t *to,
                                                                 const tml_layer *of, const tml_layer *clamps)
{
    const int32_t *bias = of->bias, *multiplier = of->multipliers;
    const int8_t *w = of->weights, *shift = of->shifts;
    int depth = of->out_c, pairs;
    for (pairs = depth / 2; pairs > 0; pairs--, w += 8 * quads, to += 2) {
        int32_t twice[4], a, b, offset;
        int right;
        a = *bias++;
        b = *bias++;
        tml_dot_2x2(wide, w, quads, a, b, twice);
        right = *shift++;
        a = *multiplier++;
        offset = tml_offset(right, of);
        to[0] = tml_finish(twice[0], a, offset, right, clamps);
        to[depth] = tml_finish(twice[2], a, offset, right, clamps);
        right = *shift++;
        a = *multiplier++;
        offset = tml_offset(right, of);
        to[1] = tml_finish(twice[1], a, offset, right, clamps);
        to[depth + 1] = tml_finish(twice[3], a, offset, right, clamps);
    }
}
#endif

/* A convolution with packed weights, pixel by pixel: what a pixel sees is copied to
   `scratch` before anything of it is written, so that the output may trail the input. */
static void tml_conv2d_packed(const int8_t *in, int8_t *out, int8_t *scratch, const tml_layer *of)
{
    int taps = of->kernel_h * of->kernel_w * of->in_c;
    int quads = (taps + 3) / 4;
    const tml_layer *clamps = of->clamps ? of : 0;
    int depth = of->out_c;
    int ox = 0, oy = 0, oc, k;
    int32_t pixel, pixels = (int32_t)of->out_h * of->out_w;
#if TML_DSP
    int32_t *wide = (int32_t *)(void *)(scratch + 4 * quads);
    /* A 1x1 window is widened from where it lies. */
    int direct = of->kernel_h * of->kernel_w == 1 && of->stride_h == 1 && of->stride_w == 1 && taps % 4 == 0
                 && of->pad_top == 0 && of->pad_left == 0;
#endif
    for (pixel = 0; pixel < pixels; pixel += TML_PIXELS, out += TML_PIXELS * of->out_c) {
        const int8_t *w = of->weights;
        int count = pixels - pixel < TML_PIXELS ? (int)(pixels - pixel) : TML_PIXELS;
        for (k = 0; k < count; k++) {
#if TML_DSP
            if (!direct) {
                tml_window(in, scratch, of, oy, ox);
            }
            tml_widen(direct ? in + (pixel + k) * taps : scratch, wide + 2 * k, quads);
#else
            tml_window(in, scratch, of, oy, ox);
#endif
            if (++ox == of->out_w) {
                ox = 0;
                oy++;
            }
        }
#if TML_DSP && !TML_SMALL
        if (count == 2 && of->per_channel && depth % 2 == 0) {
            if (clamps) {
                tml_two_pixels(wide, quads, out, of, of);
            } else {
                tml_two_pixels(wide, quads, out, of, 0);
            }
            continue;
        }
#endif
        for (oc = 0; oc < depth; oc += 2, w += 8 * quads) {
            tml_channel both[2];
            int32_t twice[2 * TML_PIXELS];
            int half, halves = depth - oc < 2 ? 1 : 2;
            tml_constants(of, oc, both);
            tml_constants(of, oc + halves - 1, both + 1);
#if TML_DSP
            tml_dot_2x2(wide, w, quads, both[0].bias, both[1].bias, twice);
#else
            tml_dot(scratch, w, quads, both[0].bias, both[1].bias, twice);
#endif
            for (half = 0; half < halves; half++) {
                const tml_channel *channel = both + half;
                int32_t offset = tml_offset(channel->shift, of);
                for (k = 0; k < count; k++) {
                    out[k * depth + oc + half] =
                        tml_finish(twice[2 * k + half], channel->multiplier, offset, channel->shift, clamps);
                }
            }
        }
    }
}
