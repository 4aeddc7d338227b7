#include <string.h>

static int tml_least(int a, int b)
{
    return a < b ? a : b;
}

static int tml_most(int a, int b)
{
    return a > b ? a : b;
}

/* The first row that rows from `row` on need of an image with `limit` rows. */
static int tml_above(int row, int stride, int pad, int limit)
{
    int first = row * stride - pad;
    return tml_least(tml_most(first, 0), limit);
}

/* The row behind the last that the rows before `row` need; a window is `reach` rows high. */
static int tml_below(int row, int stride, int reach, int pad, int limit)
{
    int end = row > 0 ? (row - 1) * stride + reach - pad : 0;
    return tml_least(tml_most(end, 0), limit);
}

/* Moves the rows from `first` to `end` to the front; those before are needed no longer. Returns the row that is first. */
static int tml_keep(int8_t *rows, int bytes, int held, int first, int end)
{
    first = tml_least(first, end);
    if (first > held) {
        memmove(rows, rows + (first - held) * bytes, (size_t)(end - first) * (size_t)bytes);
    }
    return first;
}
