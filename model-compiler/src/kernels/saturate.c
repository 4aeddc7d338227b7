static int8_t tml_saturate(int32_t x, int low, int high)
{
    return (int8_t)(x < low ? low : (x > high ? high : x));
}
