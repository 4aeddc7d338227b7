#if TML_DSP && !TML_SMALL
/* Two outputs of one 3x3 channel, `step` bytes apart in the input, 1 or 2. `outer` holds the
   first and the last weight of each row as halves, `inner` the middle ones. */
static inline void tml_dot_3x3(const int8_t *x, int width, int step, const int32_t *outer, const int32_t *inner,
                               int32_t *first, int32_t *second)
{
    int32_t a = *first, b = *second;
    int row;
#pragma GCC unroll 3
    for (row = 0; row < 3; row++, x += width) {
        int32_t bytes, even, odd;
        memcpy(&bytes, x, 4);
        __asm__("sxtb16 %0, %1" : "=r"(even) : "r"(bytes));
        __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(bytes));
        __asm__("smlad %0, %1, %2, %0" : "+r"(a) : "r"(even), "r"(outer[row]));
        __asm__("smlabb %0, %1, %2, %0" : "+r"(a) : "r"(odd), "r"(inner[row]));
        if (step == 2) {
            memcpy(&bytes, x + 2, 4);
            __asm__("sxtb16 %0, %1" : "=r"(even) : "r"(bytes));
            __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(bytes));
            __asm__("smlad %0, %1, %2, %0" : "+r"(b) : "r"(even), "r"(outer[row]));
            __asm__("smlabb %0, %1, %2, %0" : "+r"(b) : "r"(odd), "r"(inner[row]));
        } else {
            __asm__("smlad %0, %1, %2, %0" : "+r"(b) : "r"(odd), "r"(outer[row]));
            __asm__("smlatb %0, %1, %2, %0" : "+r"(b) : "r"(even), "r"(inner[row]));
        }
    }
    *first = a;
    *second = b;
}

/* A 3x3 channel from its plane. */
static inline __attribute__((always_inline)) void tml_plane_3x3(const int8_t *plane, int8_t *out, int width, int step, const int8_t *w,
                                 const tml_channel *channel, const tml_layer *of, const tml_layer *clamps)
{
    int32_t outer[3], inner[3];
    int32_t bias = channel->bias, multiplier = channel->multiplier;
    int shift = channel->shift;
    int32_t offset = tml_offset(shift, of);
    int row, oy, left, depth = of->out_c, columns = of->out_w, down = of->stride_h * width - columns / 2 * 2 * step;
    for (row = 0; row < 3; row++, w += 3) {
        outer[row] = (w[0] & 0xffff) | (int32_t)((uint32_t)w[2] << 16);
        inner[row] = w[1];
    }
    for (oy = of->out_h; oy > 0; oy--, plane += down) {
        int32_t a, b;
        for (left = columns / 2; left > 0; left--, plane += 2 * step) {
            a = bias;
            b = bias;
            tml_dot_3x3(plane, width, step, outer, inner, &a, &b);
            *out = tml_finish(a * 2, multiplier, offset, shift, clamps);
            out += depth;
            *out = tml_finish(b * 2, multiplier, offset, shift, clamps);
            out += depth;
        }
        if (columns % 2) {
            a = bias;
            b = bias;
            tml_dot_3x3(plane, width, step, outer, inner, &a, &b);
            *out = tml_finish(a * 2, multiplier, offset, shift, clamps);
            out += depth;
        }
    }
}
#endif

/* Adds one row of products; inputs lie `step` bytes apart. */
#if defined(__AVR_HAVE_MUL__)
static __attribute__((noinline)) int32_t tml_row(int32_t sum, const int8_t *x, const int8_t *w, int16_t count,
                                                int16_t step)
{
    int8_t input, weight;
    __asm__ volatile(
        "1: ld %[input], X\n"
        "add r26, %A[step]\n"
        "adc r27, %B[step]\n"
        "lpm %[weight], Z+\n"
        "muls %[weight], %[input]\n"
        "mov %[input], %[zero]\n"
        "sbrc r1, 7\n"
        "dec %[input]\n"
        "add %A[sum], r0\n"
        "adc %B[sum], r1\n"
        "adc %C[sum], %[input]\n"
        "adc %D[sum], %[input]\n"
        "subi %A[count], 1\n"
        "sbci %B[count], 0\n"
        "brne 1b\n"
        "clr r1\n"
        : "+x"(x), "+z"(w), [count] "+d"(count), [sum] "+r"(sum), [input] "=&d"(input), [weight] "=&d"(weight)
        : [step] "r"(step), [zero] "r"((uint8_t)0)
        : "r0", "memory");
    return sum;
}
#endif

/* A depthwise convolution, one channel after another: the channel is copied to a padded plane in
   `scratch` first, so that the result may take the place of the input. Weights lie channel by channel. */
static void tml_depthwise_packed(const int8_t *in, int8_t *out, int8_t *scratch, const tml_layer *of)
{
    int width = (of->out_w - 1) * of->stride_w + (of->kernel_w - 1) * of->dilation_w + 1;
    int height = (of->out_h - 1) * of->stride_h + (of->kernel_h - 1) * of->dilation_h + 1;
    int rows = height - of->pad_top < of->in_h ? height - of->pad_top : of->in_h;
    int columns = width - of->pad_left < of->in_w ? width - of->pad_left : of->in_w;
    int taps = of->kernel_h * of->kernel_w;
    int depth = of->in_c;
    int c, y, x, oy, ox;
    const int8_t *w = of->weights;
    memset(scratch, of->in_zero, (size_t)height * (size_t)width);
    for (c = 0; c < depth; c++, w += taps) {
        int8_t *to = out + c;
        int32_t offset;
        tml_channel channel;
        tml_constants(of, c, &channel);
        offset = tml_offset(channel.shift, of);
        for (y = 0; y < rows; y++) {
            const int8_t *from = in + y * of->in_w * depth + c;
            int8_t *plane = scratch + (y + of->pad_top) * width + of->pad_left;
            for (x = columns; x >= 4; x -= 4, from += 4 * depth, plane += 4) {
                plane[0] = from[0];
                plane[1] = from[depth];
                plane[2] = from[2 * depth];
                plane[3] = from[3 * depth];
            }
            for (; x > 0; x--, from += depth) {
                *plane++ = *from;
            }
        }
#if TML_DSP && !TML_SMALL
        if (taps == 9 && of->kernel_w == 3 && of->dilation_w == 1 && of->dilation_h == 1 && of->stride_w <= 2) {
            if (of->clamps) {
                tml_plane_3x3(scratch, to, width, of->stride_w, w, &channel, of, of);
            } else if (of->stride_w == 1) {
                tml_plane_3x3(scratch, to, width, 1, w, &channel, of, 0);
            } else {
                tml_plane_3x3(scratch, to, width, 2, w, &channel, of, 0);
            }
            continue;
        }
#endif
        for (oy = 0; oy < of->out_h; oy++) {
            const int8_t *corner = scratch + oy * of->stride_h * width;
            for (ox = of->out_w; ox > 0; ox--, to += depth, corner += of->stride_w) {
                const int8_t *tap = w, *row = corner;
                int32_t sum = channel.bias;
                for (y = of->kernel_h; y > 0; y--, row += of->dilation_h * width) {
#if defined(__AVR_HAVE_MUL__)
                    sum = tml_row(sum, row, tap, (int16_t)of->kernel_w, (int16_t)of->dilation_w);
                    tap += of->kernel_w;
#else
                    const int8_t *at = row;
                    for (x = of->kernel_w; x > 0; x--, at += of->dilation_w) {
                        sum += *at * TML_READ8(tap);
                        tap++;
                    }
#endif
                }
                *to = tml_finish(sum * 2, channel.multiplier, offset, channel.shift, of->clamps ? of : 0);
            }
        }
    }
}
