/**
 * SHA-1 and SHA-256, synchronous.
 *
 * The reader judges an event at once, and WebCrypto's digests are asynchronous and absent on pages served over plain
 * http. They find accidents, not attacks, so SHA-1 is enough for the chain.
 */

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

/** The text in UTF-8 as big-endian words, padded to whole blocks of 16: a one bit, zeros, then the length in bits. */
function paddedWords(text: string): Int32Array {
  const bytes = new TextEncoder().encode(text);
  const words = new Int32Array((((bytes.length + 8) >> 6) + 1) * 16);
  for (let index = 0; index <= bytes.length; index += 1) {
    words[index >> 2]! |= (bytes[index] ?? 0x80) << (24 - (index & 3) * 8);
  }
  words[words.length - 1] = bytes.length * 8;
  return words;
}

function hexadecimal(state: Int32Array): string {
  return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

function sha1Terms(round: number, b: number, c: number, d: number): number {
  if (round < 20) return ((b & c) | (~b & d)) + 0x5a827999;
  if (round < 40) return (b ^ c ^ d) + 0x6ed9eba1;
  if (round < 60) return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
  return (b ^ c ^ d) + 0xca62c1d6;
}

/** Return the SHA-1 of a text in UTF-8 as 40 hexadecimal digits. */
export function sha1(text: string): string {
  const words = paddedWords(text);
  const state = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);
  const schedule = new Int32Array(80);
  for (let block = 0; block < words.length; block += 16) {
    let [a, b, c, d, e] = state as unknown as [number, number, number, number, number];
    for (let round = 0; round < 80; round += 1) {
      schedule[round] =
        round < 16
          ? words[block + round]!
          : rotateLeft(
              schedule[round - 3]! ^ schedule[round - 8]! ^ schedule[round - 14]! ^ schedule[round - 16]!,
              1,
            );
      const next = (rotateLeft(a, 5) + sha1Terms(round, b, c, d) + e + schedule[round]!) | 0;
      [a, b, c, d, e] = [next, a, rotateLeft(b, 30), c, d];
    }
    [a, b, c, d, e].forEach((value, index) => (state[index]! += value));
  }
  return hexadecimal(state);
}

/** The first primes, by whose roots SHA-256 is defined. */
function primes(count: number): number[] {
  const found: number[] = [];
  for (let number = 2; found.length < count; number += 1) {
    if (found.every((prime) => number % prime > 0)) found.push(number);
  }
  return found;
}

/** The first 32 bits behind the point. */
const fraction = (root: number): number => (root % 1) * 2 ** 32;

/** Return the SHA-256 of a text in UTF-8 as 64 hexadecimal digits. */
export function sha256(text: string): string {
  const words = paddedWords(text);
  const state = Int32Array.from(primes(8), (prime) => fraction(Math.sqrt(prime)));
  const constants = Int32Array.from(primes(64), (prime) => fraction(Math.cbrt(prime)));
  const schedule = new Int32Array(64);
  for (let block = 0; block < words.length; block += 16) {
    let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number];
    for (let round = 0; round < 64; round += 1) {
      if (round < 16) {
        schedule[round] = words[block + round]!;
      } else {
        const [far, near] = [schedule[round - 15]!, schedule[round - 2]!];
        schedule[round] =
          schedule[round - 16]! +
          (rotateLeft(far, 25) ^ rotateLeft(far, 14) ^ (far >>> 3)) +
          schedule[round - 7]! +
          (rotateLeft(near, 15) ^ rotateLeft(near, 13) ^ (near >>> 10));
      }
      const first =
        h +
        (rotateLeft(e, 26) ^ rotateLeft(e, 21) ^ rotateLeft(e, 7)) +
        ((e & f) ^ (~e & g)) +
        constants[round]! +
        schedule[round]!;
      const second = (rotateLeft(a, 30) ^ rotateLeft(a, 19) ^ rotateLeft(a, 10)) + ((a & b) ^ (a & c) ^ (b & c));
      [a, b, c, d, e, f, g, h] = [(first + second) | 0, a, b, c, (d + first) | 0, e, f, g];
    }
    [a, b, c, d, e, f, g, h].forEach((value, index) => (state[index]! += value));
  }
  return hexadecimal(state);
}
