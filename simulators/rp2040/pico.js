// An RP2040 in rp2040js, with UART 0 on standard input and output: `node pico.js FLASH`, where FLASH is an image of its
// flash memory. It starts as a chip does (RP2040 Datasheet, 2.8.1): the second stage of the boot is checked, copied into RAM
// and run. It ends with status 64 when the chip goes into its UF2 bootloader, by itself or because it was asked to.

import { readFileSync } from 'node:fs';
import { ConsoleLogger, LogLevel, RP2040 } from 'rp2040js';

const BOOTSEL = 64;
const BOOT2 = 256;
const BOOT2_AT = 0x20041f00;
const SRAM = 0x20000000;
const NANOS = 1e9 / 125e6;
// Instructions between two looks at the input.
const SLICE = 100_000;

const image = readFileSync(process.argv[2]);
const chip = new RP2040();
chip.logger = new ConsoleLogger(LogLevel.Error, false);

// What firmware uses of the ROM: the half-words at 0x14 and 0x18, of which the second is a function that finds others. Ours
// finds one, whatever it is asked for: a breakpoint that ends the program.
const rom = new Uint16Array(0x200 / 2);
const word = (at, value) => { rom[at / 2] = value & 0xffff; rom[at / 2 + 1] = value >>> 16; };
word(0x00, BOOT2_AT);
word(0x04, 0x121);
rom[0x14 / 2] = 0x180;
rom[0x18 / 2] = 0x101;
rom.set([0x4800, 0x4770], 0x100 / 2); // ldr r0, [pc]; bx lr
word(0x104, 0x121);
rom.set([0xbeb0, 0xe7fd], 0x120 / 2); // bkpt 0xb0; b .-2

function crc(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte << 24;
    for (let bit = 0; bit < 8; bit++) {
      sum = sum & 0x80000000 ? (sum << 1) ^ 0x04c11db7 : sum << 1;
    }
  }
  return sum >>> 0;
}

function boot() {
  chip.loadBootrom(new Uint32Array(rom.buffer));
  chip.flash.set(image);
  if (image.length < BOOT2 || crc(image.subarray(0, BOOT2 - 4)) !== image.readUInt32LE(BOOT2 - 4)) {
    process.exit(BOOTSEL);
  }
  chip.sram.set(image.subarray(0, BOOT2), BOOT2_AT - SRAM);
  chip.core.PC = BOOT2_AT;
}

// Status and a waiting input are looked at between slices; these end one.
let pause = false;
let reset = false;
chip.onBreak = () => process.exit(BOOTSEL);
chip.peripherals[0x40058].onWatchdogTrigger = () => { reset = pause = true; };

let output = [];
chip.uart[0].onByte = (byte) => output.push(byte);
function flush() {
  if (output.length > 0) {
    process.stdout.write(Uint8Array.from(output));
    output = [];
  }
}

// Bytes for the chip; its FIFO has 32 places, and what comes while it is full is lost on a chip. Here it waits.
let input = [];
function feed() {
  const uart = chip.uart[0];
  while (input.length > 0 && !uart.rxFIFO.full) {
    uart.feedByte(input.shift());
  }
}

let asleep = Date.now();
let scheduled = false;
function run() {
  scheduled = false;
  pause = false;
  for (let count = 0; count < SLICE && !pause && !chip.core.waiting; count++) {
    chip.clock.tick(chip.core.executeInstruction() * NANOS);
    if (input.length > 0 && (count & 63) === 0) {
      feed();
    }
  }
  flush();
  if (reset) {
    reset = false;
    boot();
  }
  feed();
  if (chip.core.waiting) {
    asleep = Date.now();
  } else {
    schedule();
  }
}
function schedule() {
  if (!scheduled) {
    scheduled = true;
    setImmediate(run);
  }
}

process.stdin.on('data', (data) => {
  if (chip.core.waiting) {
    chip.clock.tick((Date.now() - asleep) * 1e6); // its clock went on while it slept
  }
  input.push(...data);
  feed();
  schedule();
});
process.stdin.on('end', () => process.exit(0));
boot();
schedule();
