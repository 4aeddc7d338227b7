/* Frames of the serial protocol: 00 COBS(type seq payload crc-lo crc-hi) 00, see PROTOCOL.md.
 * Receiving decodes byte by byte into one small buffer; sending encodes straight out of the
 * pieces of the message, with no buffer at all. */
#ifndef TML_FRAME_H
#define TML_FRAME_H

#include <stdint.h>

/* Longest payload that is received. 64 suits a board with 2 KB of RAM. */
#ifndef TML_MAX_PAYLOAD
#ifdef __AVR__
#define TML_MAX_PAYLOAD 64
#else
#define TML_MAX_PAYLOAD 512
#endif
#endif

/* Most pieces of a payload. */
#define TML_MAX_SPANS 10

/* Longest payload that a host takes. */
#define TML_MAX_SENT 512

#if TML_MAX_PAYLOAD < 8 || TML_MAX_PAYLOAD > 512
#error "TML_MAX_PAYLOAD must be 8 to 512"
#endif

/* Constant texts stay in flash on AVR, which has a separate address space for it. */
#ifdef __AVR__
#include <avr/pgmspace.h>
#define TML_FLASH PROGMEM
#else
#define TML_FLASH
#endif

/* A piece of a payload, in RAM or (flash != 0) in program memory. */
struct tml_span {
    const void *bytes;
    uint16_t count;
    uint8_t flash;
};

struct tml_frame {
    uint8_t type;
    uint8_t seq;
    uint16_t count; /* length of the payload */
    const uint8_t *payload;
};

enum tml_received {
    TML_NOTHING, /* no frame yet */
    TML_FRAME,   /* an intact frame */
    TML_OVERLONG /* an intact frame that the buffer could not hold: type and seq are valid */
};

uint16_t tml_crc16(uint16_t crc, uint8_t byte);

/* Takes one byte. `frame` is valid until the next call. */
enum tml_received tml_receive(uint8_t byte, struct tml_frame *frame);
/* Broken frames since the start. */
uint32_t tml_receive_errors(void);

/* Sends one frame whose payload is `spans` one after another. */
void tml_send(uint8_t type, uint8_t seq, const struct tml_span *spans, uint8_t count);

#endif
