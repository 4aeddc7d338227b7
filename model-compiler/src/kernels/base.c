#if defined(__AVR__)
#include <avr/pgmspace.h>
#define TML_FLASH PROGMEM
#define TML_READ8(p) ((int8_t)pgm_read_byte(p))
#define TML_READ16(p) ((int16_t)pgm_read_word(p))
#define TML_READU8(p) ((uint8_t)pgm_read_byte(p))
#define TML_READ32(p) ((int32_t)pgm_read_dword(p))
#else
#define TML_FLASH
#define TML_READ8(p) (*(p))
#define TML_READ16(p) (*(p))
#define TML_READU8(p) (*(p))
#define TML_READ32(p) (*(p))
#endif
#if defined(__GNUC__)
#define TML_ALIGNED __attribute__((aligned(4)))
#else
#define TML_ALIGNED
#endif
