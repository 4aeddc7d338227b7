/* Values of 32-bit floats or of int8. A scale above zero stands for int8; floats are copied byte by byte, because the
   arena holds bytes. A product and a sum must stay two operations, or results differ from machine to machine. */
#include <string.h>
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#define TML_STRICT
#elif defined(__GNUC__)
#define TML_STRICT __attribute__((optimize("fp-contract=off")))
#else
#define TML_STRICT
#endif
#if defined(__AVR__)
#define TML_READ_FLOAT(p) pgm_read_float(p)
#else
#define TML_READ_FLOAT(p) (*(p))
#endif

TML_STRICT static float tml_real_load(const int8_t *in, int32_t index, float scale, int zero)
{
    float value;
    if (scale > 0.0f) {
        return scale * (float)(in[index] - zero);
    }
    memcpy(&value, in + 4 * index, sizeof value);
    return value;
}

TML_STRICT static void tml_real_store(int8_t *out, int32_t index, float inverse, int zero, float value)
{
    if (inverse > 0.0f) {
        float steps = value * inverse;
        int q;
        steps = steps > 300.0f ? 300.0f : steps;
        steps = steps > -300.0f ? steps : -300.0f;
        q = (int)(steps < 0.0f ? steps - 0.5f : steps + 0.5f) + zero;
        out[index] = (int8_t)(q < -128 ? -128 : (q > 127 ? 127 : q));
        return;
    }
    memcpy(out + 4 * index, &value, sizeof value);
}
