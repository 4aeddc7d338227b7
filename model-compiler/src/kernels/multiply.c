/* a * b / 2^31, rounded. */
static int32_t tml_high_mul(int32_t a, int32_t b)
{
#if TML_HALVES
    return tml_halves(a, b, 1);
#else
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
#endif
}

/* x / 2^exponent, rounded, ties away from zero; exponent 0 to 31. */
static int32_t tml_divide_pot(int32_t x, int exponent)
{
    int32_t mask = (int32_t)(((uint32_t)1 << exponent) - 1u);
    int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + ((x & mask) > threshold ? 1 : 0);
}

/* x * multiplier * 2^(shift - 31), rounded twice. */
static int32_t tml_scale(int32_t x, int32_t multiplier, int shift)
{
    int left = shift > 0 ? shift : 0;
    int32_t shifted = (int32_t)((uint32_t)x << left);
    return tml_divide_pot(tml_high_mul(shifted, multiplier), left - shift);
}
