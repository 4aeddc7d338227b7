//! The C firmware that generated models plug into, and the serial protocol it speaks.
