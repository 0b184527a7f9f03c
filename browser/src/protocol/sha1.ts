/**
 * SHA-1 of ASCII text, synchronous.
 *
 * The reader judges an event at once, and WebCrypto's digest is asynchronous and absent on pages served over plain
 * http. The chain finds accidents, not attacks, so SHA-1 is enough.
 */

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

function roundTerms(round: number, b: number, c: number, d: number): number {
  if (round < 20) return ((b & c) | (~b & d)) + 0x5a827999;
  if (round < 40) return (b ^ c ^ d) + 0x6ed9eba1;
  if (round < 60) return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
  return (b ^ c ^ d) + 0xca62c1d6;
}

/** The text as big-endian words, padded to whole blocks of 16: a one bit, zeros, then the length in bits. */
function paddedWords(text: string): Int32Array {
  const words = new Int32Array((((text.length + 8) >> 6) + 1) * 16);
  for (let index = 0; index <= text.length; index += 1) {
    const byte = index < text.length ? text.charCodeAt(index) & 0xff : 0x80;
    words[index >> 2]! |= byte << (24 - (index & 3) * 8);
  }
  words[words.length - 1] = text.length * 8;
  return words;
}

/** Return the digest as 40 hexadecimal digits. The text is ASCII, as chains and ids are. */
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
      const next = (rotateLeft(a, 5) + roundTerms(round, b, c, d) + e + schedule[round]!) | 0;
      [a, b, c, d, e] = [next, a, rotateLeft(b, 30), c, d];
    }
    [a, b, c, d, e].forEach((value, index) => (state[index]! += value));
  }
  return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}
