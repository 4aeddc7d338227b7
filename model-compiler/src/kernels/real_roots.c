/* Square root by Newton's method; 0 for what is not above 0. */
TML_STRICT static float tml_sqrt(float x)
{
    float y;
    uint32_t bits;
    int i;
    if (!(x >= 1.17549435e-38f)) {
        return 0.0f;
    }
    memcpy(&bits, &x, sizeof bits);
    bits = (bits >> 1) + 0x1fbd1df5u;
    memcpy(&y, &bits, sizeof y);
    for (i = 0; i < 4; i++) {
        y = 0.5f * (y + x / y);
    }
    return y;
}
