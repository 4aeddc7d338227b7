/* A row of values that lie `step` apart; a step of 0 repeats one. */
static void tml_move(const int8_t *in, int8_t *out, int count, int step)
{
    int i;
    for (i = 0; i < count; i++, in += step) {
        out[i] = *in;
    }
}
