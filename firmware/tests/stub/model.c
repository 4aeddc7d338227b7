/* A stand-in for a generated model: those come from another crate, and this one tests how
 * any of them is driven. output[i] = sum of input[j] for j % OUTPUT == i, modulo 256. */
#include "model.h"

#include <stdlib.h>

const char tml_model_id[] = "0123456789abcdef";

static int8_t input[TML_INPUT_BYTES];
static int8_t output[TML_OUTPUT_BYTES];

int8_t *tml_input(void)
{
    return input;
}

const int8_t *tml_output(void)
{
    return output;
}

void tml_init(void)
{
}

int tml_invoke(void)
{
    int i;
    /* Inputs that begin so make the model misbehave, on purpose. */
    if (input[0] == 127 && input[1] == 1) {
        return 1;
    }
    if (input[0] == 127 && input[1] == 2) {
        abort();
    }
    if (input[0] == 127 && input[1] == 3) {
        for (;;) {
        }
    }
    for (i = 0; i < TML_OUTPUT_BYTES; i++) {
        output[i] = 0;
    }
    for (i = 0; i < TML_INPUT_BYTES; i++) {
        int at = i % TML_OUTPUT_BYTES;
        output[at] = (int8_t)(uint8_t)((unsigned)output[at] + (unsigned)input[i]);
    }
    return 0;
}
