#include "tml_frame.h"

#include "board.h"

/* Longest frame that a sender may make: anything longer is noise, however it ends. */
#define LONGEST (512 + 4)

static struct {
    uint8_t bytes[TML_MAX_PAYLOAD + 4]; /* type, seq, payload, CRC */
    uint16_t count;
    uint16_t crc;
    uint8_t left;  /* bytes up to the next COBS code */
    uint8_t code;  /* last COBS code, 0 before the first */
    uint8_t broken;
} rx;

static uint32_t errors;

/* CRC-16/MCRF4XX, as avr-libc's _crc_ccitt_update. */
uint16_t tml_crc16(uint16_t crc, uint8_t byte)
{
    uint8_t data = (uint8_t)(byte ^ (crc & 0xFFu));
    data = (uint8_t)(data ^ (uint8_t)(data << 4));
    return (uint16_t)((((unsigned)data << 8) | (crc >> 8)) ^ ((unsigned)data >> 4)
                      ^ ((unsigned)data << 3));
}

static void rx_reset(void)
{
    rx.count = 0;
    rx.crc = 0xFFFF;
    rx.left = 0;
    rx.code = 0;
    rx.broken = 0;
}

static void rx_put(uint8_t byte)
{
    rx.crc = tml_crc16(rx.crc, byte);
    if (rx.count < sizeof rx.bytes) {
        rx.bytes[rx.count] = byte;
    }
    if (rx.count < LONGEST) {
        rx.count++;
    } else {
        rx.broken = 1;
    }
}

static enum tml_received rx_end(struct tml_frame *frame)
{
    enum tml_received found = TML_NOTHING;
    if (rx.code == 0) {
        rx_reset(); /* two delimiters in a row: nothing in between */
        return found;
    }
    /* With the CRC appended low byte first, the CRC over everything is 0. */
    if (rx.broken || rx.left != 0 || rx.count < 4 || rx.crc != 0 || rx.bytes[0] < 0x80) {
        errors++;
    } else {
        frame->type = rx.bytes[0];
        frame->seq = rx.bytes[1];
        frame->count = (uint16_t)(rx.count - 4);
        frame->payload = rx.bytes + 2;
        found = rx.count > sizeof rx.bytes ? TML_OVERLONG : TML_FRAME;
    }
    rx_reset();
    return found;
}

enum tml_received tml_receive(uint8_t byte, struct tml_frame *frame)
{
    if (byte == 0) {
        return rx_end(frame);
    }
    if (rx.left == 0) {
        if (rx.code == 0) {
            rx_reset(); /* first byte ever: the CRC needs its start value */
        } else if (rx.code != 0xFF) {
            rx_put(0);
        }
        rx.code = byte;
        rx.left = (uint8_t)(byte - 1);
    } else {
        rx_put(byte);
        rx.left--;
    }
    return TML_NOTHING;
}

uint32_t tml_receive_errors(void)
{
    return errors;
}

static uint8_t span_at(const struct tml_span *span, uint16_t index)
{
    const uint8_t *at = (const uint8_t *)span->bytes + index;
#ifdef __AVR__
    if (span->flash) {
        return pgm_read_byte(at);
    }
#endif
    return *at;
}

/* A place in the list of spans. */
struct cursor {
    const struct tml_span *span;
    const struct tml_span *end;
    uint16_t index;
};

/* Next byte, or -1 at the end. */
static int cursor_next(struct cursor *at)
{
    while (at->span != at->end && at->index == at->span->count) {
        at->span++;
        at->index = 0;
    }
    return at->span == at->end ? -1 : (int)span_at(at->span, at->index++);
}

/* Sends one COBS block of at most 254 bytes, and says whether the frame goes on after it. */
static int send_block(struct cursor *at)
{
    struct cursor look = *at;
    uint8_t run = 0;
    uint8_t byte;
    int next = cursor_next(&look);
    while (next > 0 && run < 254) {
        run++;
        if (run < 254) {
            next = cursor_next(&look);
        }
    }
    byte = (uint8_t)(run + 1);
    board_write(&byte, 1);
    while (run-- > 0) {
        byte = (uint8_t)cursor_next(at);
        board_write(&byte, 1);
    }
    if (next == 0) {
        (void)cursor_next(at); /* the zero that the code stands for */
        return 1;
    }
    look = *at;
    return next > 0 && cursor_next(&look) >= 0; /* a full block, and something after it */
}

void tml_send(uint8_t type, uint8_t seq, const struct tml_span *spans, uint8_t count)
{
    uint8_t head[2];
    uint8_t tail[2];
    struct tml_span all[TML_MAX_SPANS + 2]; /* head and CRC around the payload */
    struct cursor at;
    uint16_t crc = 0xFFFF;
    uint8_t i;
    int byte;
    static const uint8_t delimiter = 0;

    if (count > TML_MAX_SPANS) {
        return; /* no message has more pieces */
    }
    head[0] = type;
    head[1] = seq;
    all[0].bytes = head;
    all[0].count = 2;
    all[0].flash = 0;
    for (i = 0; i < count; i++) {
        all[i + 1] = spans[i];
    }
    at.span = all;
    at.end = all + count + 1;
    at.index = 0;
    while ((byte = cursor_next(&at)) >= 0) {
        crc = tml_crc16(crc, (uint8_t)byte);
    }
    tail[0] = (uint8_t)(crc & 0xFFu);
    tail[1] = (uint8_t)(crc >> 8);
    all[count + 1].bytes = tail;
    all[count + 1].count = 2;
    all[count + 1].flash = 0;

    at.span = all;
    at.end = all + count + 2;
    at.index = 0;
    board_write(&delimiter, 1);
    while (send_block(&at)) {
    }
    board_write(&delimiter, 1);
    board_flush();
}
