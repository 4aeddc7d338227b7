/* Steps are distances in the input for one step along each axis of the output. */
static void tml_transpose(const int8_t *in, int8_t *out, int n0, int n1, int n2, int n3,
                          int step0, int step1, int step2, int step3)
{
    int i0, i1, i2, i3;
    for (i0 = 0; i0 < n0; i0++) {
        for (i1 = 0; i1 < n1; i1++) {
            for (i2 = 0; i2 < n2; i2++) {
                for (i3 = 0; i3 < n3; i3++) {
                    *out++ = in[i0 * step0 + i1 * step1 + i2 * step2 + i3 * step3];
                }
            }
        }
    }
}
