/* ln(x) for normal numbers above 0; -87.3 for all others. */
TML_STRICT static float tml_ln(float x)
{
    static const float terms[8] TML_FLASH = {
        -0.1151461f, 0.116769984f, -0.12420141f, 0.14249323f, -0.16668058f, 0.20000714f, -0.24999994f, 0.3333333f
    };
    float m, z, p, y, e;
    uint32_t bits;
    int32_t exponent;
    int i;
    if (!(x >= 1.17549435e-38f)) {
        return -87.3f;
    }
    memcpy(&bits, &x, sizeof bits);
    exponent = (int32_t)(bits >> 23) - 126;
    bits = (bits & 0x007fffffu) | 0x3f000000u;
    memcpy(&m, &bits, sizeof m);
    if (m < 0.70710677f) {
        exponent--;
        m += m;
    }
    m = m - 1.0f;
    z = m * m;
    p = 7.0376836e-2f;
    for (i = 0; i < 8; i++) {
        p = p * m + TML_READ_FLOAT(terms + i);
    }
    e = (float)exponent;
    y = p * m * z;
    y += e * -2.1219444e-4f;
    y -= 0.5f * z;
    y = m + y;
    return y + e * 0.6933594f;
}

TML_STRICT static float tml_sigmoid(float x)
{
    float half = 1.0f / (1.0f + tml_real_exp(x < 0.0f ? x : -x));
    return x < 0.0f ? 1.0f - half : half;
}

TML_STRICT static float tml_tanh(float x)
{
    float e = tml_real_exp(x < 0.0f ? 2.0f * x : -2.0f * x);
    float y = (1.0f - e) / (1.0f + e);
    return x < 0.0f ? -y : y;
}

TML_STRICT static float tml_probit(float x)
{
    float log, v, v2, inner, y;
    x = 2.0f * x - 1.0f;
    log = tml_ln((1.0f - x) * (1.0f + x));
    v = 4.330747f + 0.5f * log;
    v2 = 6.802721f * log;
    inner = v * v - v2;
    y = 1.41421354f * tml_sqrt(tml_sqrt(inner) - v);
    return x < 0.0f ? -y : y;
}

static float tml_share(float y)
{
    return y > 1.0f ? 1.0f : (y > 0.0f ? y : 0.0f);
}

/* A function by its number, or none, then bounds. */
TML_STRICT static void tml_real_unary(const int8_t *in, float in_scale, int in_zero,
                                      int8_t *out, float inverse, int out_zero,
                                      int32_t count, int function, float a, float b, float low, float high)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        float x = tml_real_load(in, i, in_scale, in_zero);
        switch (function) {
        case 0: x = tml_sigmoid(x); break;
        case 1: x = tml_tanh(x); break;
        case 2: x = x < 0.0f ? a * x : x; break;
        case 3: x = x < 0.0f ? b * (a * (tml_real_exp(x) - 1.0f)) : b * x; break;
        case 4: x = tml_share(a * x + b); break;
        case 5: x = tml_real_exp(x); break;
        case 6: x = x < 0.0f ? -x : x; break;
        case 7: x = tml_sqrt(x); break;
        case 8: x = tml_probit(x); break;
        case 9: x = x * tml_share(x / 6.0f + 0.5f); break;
        case 10: x = tml_ln(x); break;
        case 11: x = x < 0.0f || x > 0.0f ? 1.0f / x : 0.0f; break;
        case 12: x = x < 0.0f || x > 0.0f ? 1.0f : 0.0f; break;
        default: break;
        }
        x = x < low ? low : x;
        tml_real_store(out, i, inverse, out_zero, x > high ? high : x);
    }
}
