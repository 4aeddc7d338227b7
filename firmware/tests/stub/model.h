#ifndef MODEL_H
#define MODEL_H
#include <stdint.h>
#define TML_MODEL_NAME "stub"
#ifndef TML_INPUT_BYTES
#define TML_INPUT_BYTES 64
#endif
#ifndef TML_OUTPUT_BYTES
#define TML_OUTPUT_BYTES 10
#endif
#define TML_ARENA_BYTES (TML_INPUT_BYTES + TML_OUTPUT_BYTES)
extern const char tml_model_id[];
int8_t *tml_input(void);
const int8_t *tml_output(void);
void tml_init(void);
int tml_invoke(void);
#endif
