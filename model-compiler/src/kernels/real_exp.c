/* exp(x); 0 below -87, about 1.65e38 above 88. */
TML_STRICT static float tml_real_exp(float x)
{
    float turns, whole, r, p, y;
    int32_t n;
    uint32_t bits;
    if (x < -87.0f) {
        return 0.0f;
    }
    if (!(x == x)) {
        return x;
    }
    x = x > 88.0f ? 88.0f : x;
    turns = x * 1.44269504f;
    n = (int32_t)(turns < 0.0f ? turns - 0.5f : turns + 0.5f);
    whole = (float)n;
    r = x - whole * 0.6933594f;
    r = r - whole * -2.1219444e-4f;
    p = 1.9875691e-4f;
    p = p * r + 1.3982e-3f;
    p = p * r + 8.333452e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 0.16666666f;
    p = p * r + 0.5f;
    y = p * (r * r) + r;
    y = y + 1.0f;
    bits = (uint32_t)(n + 127) << 23;
    memcpy(&r, &bits, sizeof r);
    return y * r;
}
