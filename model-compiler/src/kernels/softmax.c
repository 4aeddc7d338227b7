/* x * 2^exponent, saturated. */
static int32_t tml_multiply_pot(int32_t x, int exponent)
{
    int32_t limit = INT32_MAX >> exponent;
    if (x > limit) {
        return INT32_MAX;
    }
    if (x < -limit - 1) {
        return INT32_MIN;
    }
    return (int32_t)((uint32_t)x << exponent);
}

/* exp(a) for a <= 0; a has 26 fractional bits, the result 31. */
static int32_t tml_exp(int32_t a)
{
    static const int32_t factors[7] TML_FLASH = {
        1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242
    };
    int32_t quarter = (int32_t)1 << 24;
    int32_t part, rest, x, x2, x3, x4, inner, result;
    int bit;
    if (a == 0) {
        return INT32_MAX;
    }
    part = (a & (quarter - 1)) - quarter;
    rest = part - a;
    x = tml_multiply_pot(part, 5) + ((int32_t)1 << 28);
    x2 = tml_high_mul(x, x);
    x3 = tml_high_mul(x2, x);
    x4 = tml_high_mul(x2, x2);
    inner = tml_high_mul(tml_divide_pot(x4, 2) + x3, 715827883) + x2;
    result = 1895147668 + tml_high_mul(1895147668, x + tml_divide_pot(inner, 1));
    for (bit = 0; bit < 7; bit++) {
        if (rest & ((int32_t)1 << (24 + bit))) {
            result = tml_high_mul(result, TML_READ32(factors + bit));
        }
    }
    return result;
}

/* 2^31 / (1 + a / 2^31) for a >= 0, by three Newton steps. */
static int32_t tml_reciprocal(int32_t a)
{
    int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) / 2);
    int32_t x = 1515870810 + tml_high_mul(half, -1010580540);
    int i;
    for (i = 0; i < 3; i++) {
        int32_t rest = ((int32_t)1 << 29) - tml_high_mul(half, x);
        x += tml_multiply_pot(tml_high_mul(x, rest), 2);
    }
    return tml_multiply_pot(x, 1);
}

static void tml_softmax(const int8_t *in, int8_t *out, int rows, int depth,
                        int32_t multiplier, int shift, int32_t diff_min)
{
    int row, i;
    for (row = 0; row < rows; row++, in += depth, out += depth) {
        int32_t sum = 0, scale;
        uint32_t bits;
        int max = -128, zeros = 0;
        for (i = 0; i < depth; i++) {
            max = in[i] > max ? in[i] : max;
        }
        for (i = 0; i < depth; i++) {
            int32_t diff = in[i] - max;
            if (diff >= diff_min) {
                int32_t steps = (int32_t)((uint32_t)diff << shift);
                sum += tml_divide_pot(tml_exp(tml_high_mul(steps, multiplier)), 12);
            }
        }
        for (bits = (uint32_t)sum; !(bits & 0x80000000u); bits <<= 1) {
            zeros++;
        }
        scale = tml_reciprocal((int32_t)(bits - 0x80000000u));
        for (i = 0; i < depth; i++) {
            int32_t diff = in[i] - max;
            int32_t share = 0;
            if (diff >= diff_min) {
                int32_t steps = (int32_t)((uint32_t)diff << shift);
                share = tml_high_mul(scale, tml_exp(tml_high_mul(steps, multiplier)));
                share = tml_divide_pot(share, 12 - zeros + 31 - 8);
            }
            out[i] = tml_saturate(share - 128, -128, 127);
        }
    }
}
