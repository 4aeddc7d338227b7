#include "tml_core.h"

#include <string.h>

#include "board.h"
#include "model.h"
#include "tml_frame.h"

#ifndef TML_ARTIFACT
#define TML_ARTIFACT ""
#endif

#if TML_INPUT_BYTES < 1 || TML_INPUT_BYTES > 65535 || TML_OUTPUT_BYTES < 1 || TML_OUTPUT_BYTES > 65535
#error "the serial protocol carries inputs and outputs of 1 to 65535 bytes"
#endif

/* Message types, see PROTOCOL.md. */
enum {
    HELLO = 0x81,
    INPUT = 0x82,
    INVOKE = 0x83,
    IDENTIFY = 0x84,
    RESET = 0x85,
    INFO = 0xC1,
    ACK = 0xC2,
    NAK = 0xC3,
    RESULT = 0xC4
};

/* Reasons in NAK, see PROTOCOL.md. */
enum {
    NAK_UNKNOWN_TYPE = 1,
    NAK_BAD_PAYLOAD = 2,
    NAK_TOO_LONG = 3,
    NAK_OUT_OF_RANGE = 4,
    NAK_OUT_OF_ORDER = 5,
    NAK_NO_INPUT = 6,
    NAK_MODEL_FAILED = 7,
    NAK_WRONG_MODE = 8
};

enum { RESULT_HEAD = 10, RESULT_PIECE = TML_MAX_SENT - RESULT_HEAD };

static const char artifact[] TML_FLASH = TML_ARTIFACT;
static const char model_name[] TML_FLASH = TML_MODEL_NAME;
static const char core_version[] TML_FLASH = TML_CORE_VERSION;

static uint16_t filled;      /* bytes of the input that are there, without a gap */
static uint32_t invocations; /* also the number of the last one */
static uint32_t latency_us;
/* The last INVOKE, so that its repetition repeats the answer. 0: there is none. */
static uint8_t invoked_seq;
static uint8_t invoked_ok;

static void put16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value & 0xFFu);
    at[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, (uint16_t)(value & 0xFFFFu));
    put16(at + 2, (uint16_t)(value >> 16));
}

static void send_ack(uint8_t seq)
{
    tml_send(ACK, seq, 0, 0);
}

static void send_nak(uint8_t seq, uint8_t code)
{
    struct tml_span span;
    span.bytes = &code;
    span.count = 1;
    span.flash = 0;
    tml_send(NAK, seq, &span, 1);
}

/* INFO is a list of tag, length, value: its texts are sent from where they are, and the
 * numbers and the texts' heads from `fixed`. */
struct info {
    uint8_t fixed[80];
    uint8_t used;
    uint8_t from; /* start of the part of `fixed` that is in no span yet */
    uint8_t spans;
    struct tml_span span[TML_MAX_SPANS];
};

static void info_number(struct info *info, uint8_t tag, uint8_t size, uint32_t value)
{
    uint8_t i;
    info->fixed[info->used++] = tag;
    info->fixed[info->used++] = size;
    for (i = 0; i < size; i++) {
        info->fixed[info->used++] = (uint8_t)(value & 0xFFu);
        value >>= 8;
    }
}

static void info_span(struct info *info, const void *bytes, uint16_t count, uint8_t flash)
{
    struct tml_span *span = &info->span[info->spans++];
    span->bytes = bytes;
    span->count = count;
    span->flash = flash;
}

static void info_close(struct info *info)
{
    if (info->used != info->from) {
        info_span(info, info->fixed + info->from, (uint16_t)(info->used - info->from), 0);
        info->from = info->used;
    }
}

static void info_text(struct info *info, uint8_t tag, const char *text, size_t length, uint8_t flash)
{
    uint8_t count = (uint8_t)(length > 80 ? 80 : length);
    info->fixed[info->used++] = tag;
    info->fixed[info->used++] = count;
    info_close(info);
    info_span(info, text, count, flash);
}

static void send_info(uint8_t seq)
{
    struct info info;
    info.used = 0;
    info.from = 0;
    info.spans = 0;
    info_number(&info, 1, 1, TML_PROTOCOL_VERSION);
    info_number(&info, 7, 4, TML_INPUT_BYTES);
    info_number(&info, 8, 4, TML_OUTPUT_BYTES);
    info_number(&info, 9, 4, TML_ARENA_BYTES);
    info_number(&info, 10, 2, TML_MAX_PAYLOAD);
    info_number(&info, 11, 4, board_boot_count());
    info_number(&info, 12, 4, board_millis());
    info_number(&info, 13, 4, invocations);
    info_number(&info, 14, 4, tml_receive_errors());
    info_number(&info, 15, 4, board_stack_left());
    info_text(&info, 2, artifact, sizeof artifact - 1, 1);
    info_text(&info, 3, tml_model_id, strlen(tml_model_id), 0);
    info_text(&info, 4, model_name, sizeof model_name - 1, 1);
    info_text(&info, 5, board_name, strlen(board_name), 0);
    info_text(&info, 6, core_version, sizeof core_version - 1, 1);
    tml_send(INFO, seq, info.span, info.spans);
}

static void take_input(const struct tml_frame *frame)
{
    uint16_t offset;
    uint16_t count;
    if (frame->count < 2) {
        send_nak(frame->seq, NAK_BAD_PAYLOAD);
        return;
    }
    offset = (uint16_t)(frame->payload[0] | ((unsigned)frame->payload[1] << 8));
    count = (uint16_t)(frame->count - 2);
    if (offset > TML_INPUT_BYTES || count > TML_INPUT_BYTES - offset) {
        send_nak(frame->seq, NAK_OUT_OF_RANGE);
        return;
    }
    if (offset > filled) {
        send_nak(frame->seq, NAK_OUT_OF_ORDER);
        return;
    }
    /* The model may keep its output where its input was: the last result is gone now. */
    invoked_seq = 0;
    memcpy(tml_input() + offset, frame->payload + 2, count);
    if (offset == 0 || offset + count > filled) {
        filled = (uint16_t)(offset + count);
    }
    send_ack(frame->seq);
}

static void send_result(uint8_t seq)
{
    uint8_t head[RESULT_HEAD];
    struct tml_span span[2];
    uint16_t offset = 0;
    put32(head, invocations);
    put32(head + 4, latency_us);
    span[0].bytes = head;
    span[0].count = RESULT_HEAD;
    span[0].flash = 0;
    span[1].flash = 0;
    do {
        uint16_t left = (uint16_t)(TML_OUTPUT_BYTES - offset);
        put16(head + 8, offset);
        span[1].bytes = tml_output() + offset;
        span[1].count = left > RESULT_PIECE ? RESULT_PIECE : left;
        tml_send(RESULT, seq, span, 2);
        offset = (uint16_t)(offset + span[1].count);
    } while (offset < TML_OUTPUT_BYTES);
}

static void invoke(uint8_t seq)
{
    if (seq == 0 || seq != invoked_seq) {
        uint32_t start;
        if (filled != TML_INPUT_BYTES) {
            send_nak(seq, NAK_NO_INPUT);
            return;
        }
        filled = 0; /* the model may overwrite its input */
        invoked_seq = seq;
        invocations++;
        start = board_micros();
        invoked_ok = tml_invoke() == 0;
        latency_us = board_micros() - start;
    }
    if (invoked_ok) {
        send_result(seq);
    } else {
        send_nak(seq, NAK_MODEL_FAILED);
    }
}

#ifdef TML_SENSOR_MUL
/* A host that feeds the board keeps the sensor silent for so long: its input must not be mixed with the sensor's. */
#define FED_MS 5000u

static uint32_t fed_at;
static uint8_t fed;

static void note_host(void)
{
    fed = 1;
    fed_at = board_millis();
}

/* Takes one value of the sensor. The last one of an input runs the model, and its result is sent unasked. */
static void sense(void)
{
    uint16_t raw;
    int32_t value;
    if (fed) {
        if (board_millis() - fed_at < FED_MS) {
            return;
        }
        fed = 0;
        filled = 0; /* what the host has begun */
    }
    if (!board_sensor(filled, &raw)) {
        return;
    }
    value = ((int32_t)raw * TML_SENSOR_MUL + TML_SENSOR_ADD) >> 16;
    if (value < -128) {
        value = -128;
    } else if (value > 127) {
        value = 127;
    }
    invoked_seq = 0;
    tml_input()[filled++] = (int8_t)value;
    if (filled == TML_INPUT_BYTES) {
        invoke(0);
    }
}
#else
#define note_host()
#define sense()
#endif

static void reset(const struct tml_frame *frame)
{
    if (frame->count != 1 || frame->payload[0] > 1) {
        send_nak(frame->seq, NAK_BAD_PAYLOAD);
        return;
    }
    send_ack(frame->seq);
    board_reset(frame->payload[0]);
}

static void answer(const struct tml_frame *frame)
{
    switch (frame->type) {
    case HELLO:
        invoked_seq = 0; /* a new host, whose numbers may begin anywhere */
        send_info(frame->seq);
        break;
    case INPUT:
        note_host();
        take_input(frame);
        break;
    case INVOKE:
        note_host();
        invoke(frame->seq);
        break;
    case IDENTIFY:
        board_identify();
        send_ack(frame->seq);
        break;
    case RESET:
        reset(frame);
        break;
    default:
        /* 0xA0 to 0xBF are for the bootloader, which is not what runs now. */
        send_nak(frame->seq, (frame->type & 0xE0) == 0xA0 ? NAK_WRONG_MODE : NAK_UNKNOWN_TYPE);
        break;
    }
}

void tml_core_start(void)
{
    tml_init();
    send_info(0);
}

int tml_core_step(void)
{
    struct tml_frame frame;
    int byte = board_read();
    if (byte == BOARD_READ_CLOSED) {
        return 0;
    }
    if (byte >= 0) {
        switch (tml_receive((uint8_t)byte, &frame)) {
        case TML_FRAME:
            answer(&frame);
            break;
        case TML_OVERLONG:
            send_nak(frame.seq, NAK_TOO_LONG);
            break;
        case TML_NOTHING:
            break;
        }
    } else {
        sense();
    }
    return 1;
}
