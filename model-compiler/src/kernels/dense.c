static void tml_dense(const int8_t *in, int8_t *out, const int8_t *weights, const int32_t *bias,
                      const int32_t *multipliers, const int8_t *shifts, int per_channel,
                      int in_zero, int out_zero, int low, int high, int inputs, int outputs)
{
    int o, i;
    const int8_t *w = weights;
    for (o = 0; o < outputs; o++) {
        int32_t sum = TML_READ32(bias + o);
        int channel = per_channel ? o : 0;
        for (i = 0; i < inputs; i++) {
            sum += (in[i] - in_zero) * TML_READ8(w);
            w++;
        }
        sum = tml_scale(sum, TML_READ32(multipliers + channel), TML_READ8(shifts + channel));
        out[o] = tml_saturate(sum + out_zero, low, high);
    }
}
