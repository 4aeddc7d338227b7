/* What the core needs from a board. One board_*.c implements it per kind of board. */
#ifndef TML_BOARD_H
#define TML_BOARD_H

#include <stdint.h>

#define BOARD_READ_NOTHING (-1) /* no byte at the moment */
#define BOARD_READ_CLOSED (-2)  /* there will never be another one: leave */

/* Board name as reported in INFO, for instance "native". */
extern const char board_name[];

void board_init(void);
/* Next byte from the host, 0 to 255, or one of the codes above. May wait. */
int board_read(void);
/* Queues bytes to the host; board_flush() sees to it that they leave. */
void board_write(const uint8_t *bytes, uint16_t count);
void board_flush(void);
/* Monotonic clocks since the board started; both wrap at 2^32. */
uint32_t board_micros(void);
uint32_t board_millis(void);
/* How often the board has started, 0 if it cannot count. */
uint32_t board_boot_count(void);
/* Bytes of RAM that the stack has never reached since the start, 0 if the board cannot tell. */
uint32_t board_stack_left(void);
/* Makes the board show itself to a person: LED, display, log line. */
void board_identify(void);
/* Takes the sensor's value for place `at` of the model's input. Returns 0 if there is none yet. Only called, and only
 * there, where the board's file names a sensor. */
int board_sensor(uint16_t at, uint16_t *value);
/* Restarts the board, into the bootloader if asked. May return if it cannot. */
void board_reset(int bootloader);

#endif
