/* A value of an operand that lies in RAM, or in flash. */
#if defined(__AVR__)
#define TML_OPERAND(p, flash) ((flash) ? TML_READ8(p) : *(p))
#else
#define TML_OPERAND(p, flash) ((void)(flash), *(p))
#endif
