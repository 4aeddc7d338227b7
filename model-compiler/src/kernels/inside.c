/* Taps of a window that begins at `from` and lie inside of an input of `size`: from *first to before the result. */
static int tml_inside(int from, int size, int taps, int dilation, int *first)
{
    int begin = 0;
    while (begin < taps && from + begin * dilation < 0) {
        begin++;
    }
    while (taps > begin && from + (taps - 1) * dilation >= size) {
        taps--;
    }
    *first = begin;
    return taps;
}
