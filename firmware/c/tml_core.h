/* The firmware's core: answers the host, runs the model. Everything else is board or model. */
#ifndef TML_CORE_H
#define TML_CORE_H

#define TML_PROTOCOL_VERSION 1
#define TML_CORE_VERSION "0.1.0"

/* Prepares the model and announces the board to the host. Call once, after board_init(). */
void tml_core_start(void);
/* Takes one byte from the host, if there is one, and does what it completes.
 * Returns 0 when the host is gone for good. */
int tml_core_step(void);

#endif
