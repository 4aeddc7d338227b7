/* Entries of the middle axis of [outer, count, inner], as a table of `entries` indices says. */
static void tml_pick(const int8_t *in, int8_t *out, const int16_t *indices,
                     int outer, int32_t count, int entries, int32_t inner)
{
    int o, e;
    int32_t i;
    for (o = 0; o < outer; o++, in += count * inner) {
        for (e = 0; e < entries; e++) {
            const int8_t *from = in + TML_READ16(indices + e) * inner;
            for (i = 0; i < inner; i++) {
                *out++ = from[i];
            }
        }
    }
}
