static void tml_lookup(const int8_t *in, int8_t *out, int32_t count, const int8_t *table)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        out[i] = TML_READ8(table + (in[i] + 128));
    }
}
