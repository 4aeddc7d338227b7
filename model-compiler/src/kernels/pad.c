/* n: sizes of the result, b: padding before, m: sizes of the operand. */
static void tml_pad(const int8_t *in, int8_t *out, int zero, int n0, int n1, int n2, int n3,
                    int b0, int b1, int b2, int b3, int m0, int m1, int m2, int m3)
{
    int i0, i1, i2, i3;
    for (i0 = 0; i0 < n0; i0++) {
        for (i1 = 0; i1 < n1; i1++) {
            for (i2 = 0; i2 < n2; i2++) {
                for (i3 = 0; i3 < n3; i3++) {
                    int inside = i0 >= b0 && i0 - b0 < m0 && i1 >= b1 && i1 - b1 < m1
                                 && i2 >= b2 && i2 - b2 < m2 && i3 >= b3 && i3 - b3 < m3;
                    *out++ = (int8_t)(inside ? *in++ : zero);
                }
            }
        }
    }
}
